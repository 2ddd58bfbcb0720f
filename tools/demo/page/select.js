// The selections of detector/select.py, from the candidates that the server sends; boxes are float64 here.
"use strict";

// The best `most` candidates of each level above the threshold, best first: rows of the columns.
function passing(found, threshold, most, peaksOnly) {
  const taken = [], used = new Map(), least = Math.fround(threshold);
  for (let row = 0; row < found.scores.length; row++) {
    if (!(found.scores[row] > Math.fround(least * found.factors[row]))) continue;
    if (peaksOnly && !found.peaks[row]) continue;
    const level = found.levels[row], count = used.get(level) || 0;
    if (count >= most) continue;
    used.set(level, count + 1);
    taken.push(row);
  }
  return taken;
}

function overlap(a, b) {
  const w = Math.min(a[2], b[2]) - Math.max(a[0], b[0]), h = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (w <= 0 || h <= 0) return 0;
  const area = (c) => (c[2] - c[0]) * (c[3] - c[1]);
  return (w * h) / (area(a) + area(b) - w * h);
}

function topk(found, options, threshold) {
  return passing(found, threshold, options.candidates, true).slice(0, options.limit);
}

function nms(found, options, threshold, iou) {
  const kept = [];
  for (const row of passing(found, threshold, options.candidates, false)) {
    const better = kept.some((other) => found.labels[other] === found.labels[row]
      && overlap(found.boxes[other], found.boxes[row]) > iou);
    if (!better) kept.push(row);
    if (kept.length === options.limit) break;
  }
  return kept;
}

// Those of the shown rows that overlap a better shown one of their class with an IoU above 0.5.
function duplicates(found, rows) {
  return new Set(rows.filter((row, place) => rows.slice(0, place).some((other) =>
    found.labels[other] === found.labels[row] && overlap(found.boxes[other], found.boxes[row]) > 0.5)));
}
