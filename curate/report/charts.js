"use strict";
// Axes and histograms, drawn as inline SVG. Bars stretch with the card, labels are HTML so that they do not.

const SVG = "http://www.w3.org/2000/svg";
const BINS = 48;
const STEPS = 240;

function el(name, attributes = {}, ...children) {
  const node = name === "svg" || name === "rect" || name === "line" || name === "title"
    ? document.createElementNS(SVG, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") node.setAttribute("class", value);
    else if (key in node && typeof value !== "string") node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children);
  return node;
}

function number(value, digits = 4) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e4 && size < 1e9) return Math.round(value).toLocaleString("en-US");
  return String(Number(value.toPrecision(digits)));
}

const count = (n) => n.toLocaleString("en-US");
const percent = (part, whole) => (whole ? `${(100 * part / whole).toFixed(1)} %` : "–");

function seconds(value) {
  if (value === null) return "–";
  const minutes = Math.floor(value / 60);
  return `${minutes}:${(value - 60 * minutes).toFixed(2).padStart(5, "0")}`;
}

// The axis of a column: where its values lie, without the outermost 0.5 %, but with every threshold. Logarithmic where a few
// large values would flatten the rest.
function makeAxis(sorted, limits) {
  const at = (q) => sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
  const least = sorted[0], most = sorted[sorted.length - 1];
  let low = Math.min(at(0.005), ...limits), high = Math.max(at(0.995), ...limits);
  const middle = at(0.5), small = limits.some((v) => v < 0.04 * high);
  const log = least >= 0 && middle > 0 && limits.every((v) => v > 0) && (small || high > 12 * middle);
  if (log) low = Math.max(Math.min(at(0.02) || Infinity, middle, ...limits) / 1.5, high / 1e5);
  else if (low > 0 && low < 0.2 * high) low = 0;
  if (!(high > low)) { const pad = Math.abs(low) * 0.1 || 0.5; low -= pad; high += pad; }
  const span = log ? Math.log(high / low) : high - low;
  return {
    low, high, log, least, most, whole: sorted.every(Number.isInteger) && limits.every(Number.isInteger),
    place: (v) => Math.min(1, Math.max(0, log ? (v > 0 ? Math.log(v / low) / span : 0) : (v - low) / span)),
    value: (share) => (log ? low * Math.exp(share * span) : low + share * span),
  };
}

function ticks(axis) {
  const found = [];
  if (axis.log) {
    for (let k = Math.ceil(Math.log10(axis.low) - 1e-9); 10 ** k <= axis.high * 1.0001; k++) found.push(Number(`1e${k}`));
    if (found.length > 1) return found.length > 5 ? found.filter((_, i) => i % 2 === 0) : found;
    return [axis.low, axis.value(0.5), axis.high].map((v) => Number(v.toPrecision(2)));
  }
  const raw = (axis.high - axis.low) / 4, power = 10 ** Math.floor(Math.log10(raw));
  const round = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw * 0.999), step = axis.whole ? Math.max(1, round) : round;
  for (let v = Math.ceil(axis.low / step) * step; v <= axis.high + step * 1e-6; v += step) found.push(Number(v.toPrecision(6)));
  return found;
}

// Row numbers of the clips in each bin; what lies beyond the axis is in the outermost ones.
function binned(values, axis) {
  const bins = Array.from({length: BINS}, () => []);
  values.forEach((v, i) => { if (!Number.isNaN(v)) bins[Math.min(BINS - 1, Math.floor(axis.place(v) * BINS))].push(i); });
  return bins;
}

// Bars of two parts, what passes below what fails. Where one bin dwarfs the others, heights are square roots, and the card says so.
function histogram(column, axis, bins, onPick) {
  const sizes = bins.map((b) => b.length).sort((a, b) => b - a), root = sizes[1] > 0 && sizes[0] > 8 * sizes[1];
  const scale = (n) => (n ? Math.max(1.5, 96 * (root ? Math.sqrt(n / sizes[0]) : n / sizes[0])) : 0);
  const svg = el("svg", {viewBox: `0 0 ${BINS} 100`, preserveAspectRatio: "none", role: "img", "aria-label": describe(column, axis)});
  const bars = bins.map((bin, i) => {
    const from = axis.value(i / BINS), to = axis.value((i + 1) / BINS), x = {x: String(i + 0.06), width: "0.88"};
    const passes = el("rect", {class: "passes", ...x}), fails = el("rect", {class: "fails", ...x});
    for (const part of [passes, fails]) {
      part.append(el("title", {}, `${number(from, 3)} to ${number(to, 3)}: ${count(bin.length)} clips`));
      part.addEventListener("click", () => onPick(bin));
      svg.append(part);
    }
    return {bin, passes, fails, height: scale(bin.length)};
  });
  const labels = el("div", {class: "ticks", "aria-hidden": "true"});
  for (const tick of ticks(axis)) {
    const label = el("span", {}, number(tick, 3));
    label.style.left = `${100 * axis.place(tick)}%`;
    labels.append(label);
  }
  return {svg, bars, labels, root};
}

function colourBars(bars, failsAt) {
  for (const {bin, passes, fails, height} of bars) {
    const bad = bin.length ? height * (bin.filter(failsAt).length / bin.length) : 0;
    fails.setAttribute("y", String(100 - height));
    fails.setAttribute("height", String(bad));
    passes.setAttribute("y", String(100 - height + bad));
    passes.setAttribute("height", String(height - bad));
  }
}

function describe(column, axis) {
  const sorted = column.sorted, middle = sorted[Math.floor(sorted.length / 2)];
  return `Histogram of ${column.name}: ${count(sorted.length)} clips from ${number(axis.least)} to ${number(axis.most)}, median ${number(middle)}`;
}
