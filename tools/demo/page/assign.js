// The tab Assign: one figure per assigner, one box for all. The positives come from the server's assigners.
"use strict";
const COLORS = ["#ffd166", "#5ee6a8", "#4cc2ff", "#c69bff", "#ff9fd0", "#ff8c5a", "#b5e853"];
views.push({
  name: "assign",
  panels: {},
  box: null, // xyxy in shares of the picture
  busy: false,
  waiting: false,
  prepare() {
    const names = { atss: "ATSS", simota: "SimOTA", tal: "TAL", o2f: "O2F" };
    for (const name of state.about.assigners) {
      const panel = this.panels[name] = figure($("assigners"), names[name] || name);
      this.listen(panel.canvas);
    }
    state.about.checkpoints.forEach((one, row) => $("checkpoint").add(new Option(one.name, row)));
    $("checkpoint").addEventListener("change", () => { this.classes(); this.ask(); });
    $("label").addEventListener("change", () => this.ask());
    $("progress").addEventListener("input", () => this.ask());
    this.classes();
  },
  classes() {
    const names = state.about.checkpoints[Number($("checkpoint").value)].classes;
    $("label").replaceChildren(...names.map((name, row) => new Option(name, row)));
  },
  loaded() {
    const best = state.answer.results[Number($("checkpoint").value)];
    this.box = [0.3, 0.3, 0.7, 0.7];
    if (best.scores.length) { // begin with the best detection
      const [height, width] = best.size;
      this.box = best.boxes[0].map((side, place) => side / (place % 2 ? height : width));
      $("label").value = best.labels[0];
    }
    state.shown.assign = {};
    this.ask();
  },
  listen(canvas) {
    canvas.tabIndex = 0;
    let from = null;
    const at = (event) => {
      const area = canvas.getBoundingClientRect(), clip = (v) => Math.min(1, Math.max(0, v));
      return [clip((event.clientX - area.left) / area.width), clip((event.clientY - area.top) / area.height)];
    };
    canvas.addEventListener("pointerdown", (event) => { from = at(event); canvas.setPointerCapture(event.pointerId); });
    canvas.addEventListener("pointermove", (event) => {
      if (!from || !state.answer) return;
      const to = at(event);
      const box = [Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.max(from[0], to[0]), Math.max(from[1], to[1])];
      if (box[2] - box[0] > 0.004 && box[3] - box[1] > 0.004) { this.box = box; this.ask(); }
    });
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, () => { from = null; });
    canvas.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!move || !this.box) return;
      event.preventDefault();
      const box = [...this.box];
      for (const axis of [0, 1]) {
        const step = move[axis] * 0.01;
        if (!event.shiftKey) box[axis] += step;
        box[axis + 2] += step;
        if (box[axis] < 0 || box[axis + 2] > 1 || box[axis + 2] - box[axis] < 0.01) return;
      }
      this.box = box;
      this.ask();
    });
  },
  // One question is under way at a time; the last state of the controls is always asked.
  async ask() {
    $("progress-value").textContent = `${Math.round($("progress").value * 100)}%`;
    draw();
    if (this.busy) { this.waiting = true; return; }
    this.busy = true;
    do {
      this.waiting = false;
      const row = Number($("checkpoint").value), image = state.answer.image;
      const [height, width] = state.answer.results[row].size;
      const asked = {
        image, checkpoint: row, label: Number($("label").value), progress: Number($("progress").value),
        box: this.box.map((share, place) => share * (place % 2 ? height : width)),
      };
      const body = JSON.stringify(asked);
      try {
        const found = await ask("api/assign", { method: "POST", body });
        if (image === state.answer.image && row === Number($("checkpoint").value)) {
          state.shown.assign = { asked, found };
          draw();
        }
      } catch (error) {
        say(error.message, true);
      }
    } while (this.waiting);
    this.busy = false;
  },
  draw() {
    const row = Number($("checkpoint").value), result = state.answer.results[row], grid = result.grid;
    $("levels").replaceChildren(...grid.strides.map((stride, level) => {
      const item = document.createElement("span"), dot = document.createElement("i");
      dot.className = "dot";
      dot.style.background = COLORS[level % COLORS.length];
      item.append(dot, `stride ${stride}`);
      return item;
    }));
    const { asked, found } = state.shown.assign;
    for (const [name, panel] of Object.entries(this.panels)) {
      const { context, w, h } = start(panel, 0.45);
      const x = w / result.size[1], y = h / result.size[0];
      const dot = (point, radius, opacity) => {
        context.globalAlpha = opacity;
        context.fillStyle = COLORS[grid.levels[point] % COLORS.length];
        context.beginPath();
        context.arc(grid.xy[point][0] * x, grid.xy[point][1] * y, radius, 0, 2 * Math.PI);
        context.fill();
      };
      grid.xy.forEach((_, point) => dot(point, 0.8 + 0.35 * grid.levels[point], 0.3));
      context.globalAlpha = 1;
      const [x1, y1, x2, y2] = this.box;
      context.strokeStyle = "#fff";
      context.lineWidth = 2;
      context.strokeRect(x1 * w, y1 * h, (x2 - x1) * w, (y2 - y1) * h);
      if (!found || asked.checkpoint !== row) continue;
      const own = found[name];
      own.points.forEach((point, place) => {
        const score = own.scores[place], radius = 4 + 7 * score;
        dot(point, radius, 0.35 + 0.65 * score);
        if (own.certain[place]) {
          context.globalAlpha = 1;
          context.strokeStyle = "#fff";
          context.beginPath();
          context.arc(grid.xy[point][0] * x, grid.xy[point][1] * y, radius + 2, 0, 2 * Math.PI);
          context.stroke();
        }
      });
      const total = own.scores.reduce((sum, score) => sum + score, 0);
      panel.count.textContent = `${own.points.length} positives, sum ${total.toFixed(2)}`;
      panel.canvas.setAttribute("role", "application");
      panel.canvas.setAttribute("aria-label", `${name}: ${panel.count.textContent}. Arrow keys move the box.`);
    }
  },
});
