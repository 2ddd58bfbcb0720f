// The image that is shown, its answers from the server, tabs, and canvases that are sharp on any screen.
"use strict";
const $ = (id) => document.getElementById(id);
// Also what tests read: `shown` holds what the canvases show.
const state = { about: null, image: null, answer: null, shown: { detect: [], assign: {} } };
const views = []; // functions that draw a tab from `state`
let loads = 0;

function say(text, problem = false) {
  $("message").textContent = text;
  $("message").classList.toggle("problem", problem);
}

async function ask(path, options) {
  const answer = await fetch(path, options);
  const content = await answer.json();
  if (!answer.ok) throw new Error(content.problem);
  return content;
}

// Shows the image of an answer of the server; a later load wins over an earlier one.
async function load(path, options) {
  const own = ++loads;
  say("Running the detector ...");
  try {
    const answer = await ask(path, options);
    const image = new Image();
    image.src = `api/image?number=${answer.image}`;
    await image.decode();
    if (own !== loads) return;
    Object.assign(state, { answer, image });
    say("");
    for (const view of views) view.loaded();
    draw();
  } catch (error) {
    if (own === loads) say(error.message, true);
  }
}

function upload(file) {
  if (!file) return;
  if (file.size > 20 * 2 ** 20) return say("too large: at most 20 MiB are taken", true);
  load("api/image", { method: "POST", body: file });
}

function draw() {
  if (state.answer) for (const view of views) if (!$(view.name).hidden) view.draw();
}

function figure(parent, name) {
  const made = document.createElement("figure"), caption = document.createElement("figcaption");
  const title = document.createElement("b"), count = document.createElement("span");
  const canvas = document.createElement("canvas");
  title.textContent = name;
  caption.append(title, count);
  made.append(caption, canvas);
  parent.append(made);
  return { figure: made, count, canvas };
}

// Sizes a canvas for the picture and draws that; returns a context whose unit is one CSS pixel, and its scale.
function start(panel, dim) {
  const { width, height } = state.answer, dense = window.devicePixelRatio || 1;
  const scale = Math.min(panel.figure.clientWidth / width, Math.max(320, innerHeight - 260) / height);
  const canvas = panel.canvas, w = Math.round(width * scale), h = Math.round(height * scale);
  canvas.width = Math.round(w * dense);
  canvas.height = Math.round(h * dense);
  canvas.style.width = `${w}px`;
  canvas.style.height = `${h}px`;
  const context = canvas.getContext("2d");
  context.setTransform(canvas.width / w, 0, 0, canvas.height / h, 0, 0);
  context.imageSmoothingQuality = "high";
  context.drawImage(state.image, 0, 0, w, h);
  context.fillStyle = `rgba(15, 19, 24, ${dim})`;
  context.fillRect(0, 0, w, h);
  return { context, w, h };
}

function choose(name) {
  for (const tab of document.querySelectorAll("[role=tab]")) {
    const own = tab.id === `tab-${name}`;
    tab.setAttribute("aria-selected", own);
    tab.tabIndex = own ? 0 : -1;
    $(tab.getAttribute("aria-controls")).hidden = !own;
  }
  draw();
}

for (const name of ["detect", "assign"]) {
  $(`tab-${name}`).addEventListener("click", () => choose(name));
  $(`tab-${name}`).addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = name === "detect" ? "assign" : "detect";
    choose(other);
    $(`tab-${other}`).focus();
  });
}
let sample = 0;
$("sample").addEventListener("click", () => load(`api/sample?number=${sample++}`));
$("choose").addEventListener("click", () => $("file").click());
$("file").addEventListener("change", () => { upload($("file").files[0]); $("file").value = ""; });
addEventListener("dragover", (event) => { event.preventDefault(); $("drop").hidden = false; });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) $("drop").hidden = true; });
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").hidden = true;
  upload(event.dataTransfer.files[0]);
});
addEventListener("resize", draw);
addEventListener("DOMContentLoaded", async () => {
  try {
    state.about = await ask("api/about");
  } catch (error) {
    return say(error.message, true);
  }
  for (const view of views) view.prepare();
  load(`api/sample?number=${sample++}`);
});
