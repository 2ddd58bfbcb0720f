// The tab Detect: one figure per checkpoint.
"use strict";
views.push({
  name: "detect",
  panels: [],
  prepare() {
    this.panels = state.about.checkpoints.map((one) => figure($("panels"), one.name));
    const ious = [...new Set(state.about.checkpoints.map((one) => one.iou))];
    $("nms-iou").textContent = `IoU ${ious.join(", ")}`;
    for (const id of ["score", "nms"]) $(id).addEventListener("input", draw);
  },
  loaded() {
    // Below the highest floor of a checkpoint its candidates are not complete.
    $("score").min = Math.max(...state.answer.results.map((one) => one.floor));
  },
  draw() {
    const threshold = Number($("score").value);
    $("score-value").textContent = threshold.toFixed(2);
    state.shown.detect = state.answer.results.map((found, place) => {
      const options = state.about.checkpoints[place], panel = this.panels[place];
      const rows = $("nms").checked ? nms(found, options, threshold, options.iou) : topk(found, options, threshold);
      const doubled = duplicates(found, rows);
      const { context, w, h } = start(panel, 0);
      const x = w / found.size[1], y = h / found.size[0];
      for (const row of [...rows].reverse()) { // the best lies on top
        const [x1, y1, x2, y2] = found.boxes[row], color = doubled.has(row) ? "#ff5a5f" : "#4cc2ff";
        context.strokeStyle = color;
        context.lineWidth = 2;
        context.strokeRect(x1 * x, y1 * y, (x2 - x1) * x, (y2 - y1) * y);
        const text = `${options.classes[found.labels[row]]} ${found.scores[row].toFixed(2)}`;
        context.font = "600 12px system-ui, sans-serif";
        const wide = context.measureText(text).width + 8;
        const left = Math.max(0, Math.min(x1 * x - 1, w - wide)), top = Math.max(0, y1 * y - 18);
        context.fillStyle = color;
        context.fillRect(left, top, wide, 18);
        context.fillStyle = "#0b1015";
        context.fillText(text, left + 4, top + 13);
      }
      panel.count.replaceChildren(`${rows.length} detections, `);
      const count = document.createElement(doubled.size ? "em" : "span");
      count.textContent = `${doubled.size} duplicates`;
      panel.count.append(count);
      panel.canvas.setAttribute("role", "img");
      panel.canvas.setAttribute("aria-label", `${options.name}: ${panel.count.textContent}`);
      return { rows, duplicates: doubled.size };
    });
  },
});
