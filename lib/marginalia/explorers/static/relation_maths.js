// The maths of the relation explorer: functions without any page, so that tests compare them with the library.

import { convert, pearson } from "./box_maths.js";

const EPS = 1e-5; // added to widths and heights, as in the library

// Pixels x, y, w, h as centre, width and height in parts of the image.
export function normalised(box, [W, H]) {
  const [x, y, w, h] = convert(box, "cxcywh");
  return [x / W, y / H, w / W, h / H];
}

// e(b_i, b_j) of normalised boxes: two distances and two ratios of sizes, as logs.
export function relativeGeometry(i, j) {
  const distance = (k) => Math.log(Math.abs(i[k] - j[k]) / (i[k + 2] + EPS) + 1);
  const ratio = (k) => Math.log((i[k] + EPS) / (j[k] + EPS));
  return [distance(0), distance(1), ratio(2), ratio(3)];
}

// Sines and cosines of the four numbers in turn: (sin, cos) of the highest frequency first.
export const embed = (geometry, frequency) => geometry.flatMap((value) =>
  frequency.flatMap((times) => [Math.sin(value * times), Math.cos(value * times)]));

// W embed + B of each head, before the ReLU. A row of `heads` is a head's weights, then its bias.
const project = (embedding, heads) => heads.map((row) =>
  embedding.reduce((sum, value, k) => sum + row[k] * value, row.at(-1)));

export function softmax(logits) {
  const most = Math.max(...logits);
  const parts = logits.map((logit) => Math.exp(logit - most));
  const sum = parts.reduce((a, b) => a + b);
  return parts.map((part) => part / sum);
}

// Intersection over union of two boxes x, y, w, h.
export function iou(a, b) {
  const shared = (k) => Math.max(Math.min(a[k] + a[k + 2], b[k] + b[k + 2]) - Math.max(a[k], b[k]), 0);
  const both = shared(0) * shared(1);
  return both / (a[2] * a[3] + b[2] * b[3] - both);
}

// Box i beside every box j: geometry (N, 4), embedding (N, 64), scores before the ReLU (H, N), relation
// (H, N), attention with equal content logits (H + 1, N; the mean of heads last), and rho and IoU (N).
export function measureRow(boxes, size, boxFormat, i, heads, frequency) {
  const places = boxes.map((box) => normalised(box, size));
  const geometry = places.map((place) => relativeGeometry(places[i], place));
  const embedding = geometry.map((each) => embed(each, frequency));
  const projected = embedding.map((each) => project(each, heads)); // (N, H)
  const scores = heads.map((_, h) => projected.map((each) => each[h]));
  const relation = scores.map((row) => row.map((score) => Math.max(score, 0)));
  const attention = relation.map(softmax);
  attention.push(boxes.map((_, j) => attention.reduce((sum, row) => sum + row[j], 0) / heads.length));
  const told = boxes.map((box) => convert(box, boxFormat));
  return { geometry, embedding, scores, relation, attention, rho: told.map((box) => pearson(told[i], box)),
    overlap: boxes.map((box) => iou(boxes[i], box)) };
}
