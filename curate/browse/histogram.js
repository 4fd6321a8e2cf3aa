// Histograms that are the filters: drag over one for a range, drag its line for a threshold, or type either.
import * as state from "./state.js";
import { make, one, short } from "./state.js";
import { pressed } from "./side.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 268, HEIGHT = 46, GRIP = 7, EDGE = 3;
let run = null, asking = 0, dragged = null;
const opened = [];

export function know(facts) {
  run = facts;
  if (!opened.length) opened.push(...run.filters.map((f) => f.column).filter((name) => run.columns.some((c) => c.name === name)));
  for (const [name] of state.entries()) if (/^[rv]\./.test(name) && !opened.includes(name.slice(2))) opened.push(name.slice(2));
  more();
}

function more() {
  const rest = run.columns.filter((c) => !opened.includes(c.name));
  one("more").replaceChildren(make("option", { value: "", textContent: "+ another column" }), ...rest.map((c) => make("option", { value: c.name, textContent: c.name, title: c.doc })));
}

one("more").addEventListener("change", (event) => {
  if (event.target.value) opened.push(event.target.value);
  more();
  load();
});

export async function load() {
  const mine = ++asking;
  for (const name of [...opened]) {
    let found;
    try { found = await state.ask("/api/histogram?" + state.text({ column: name })); } catch (error) { found = { column: name, error: error.message }; }
    if (mine !== asking) return;
    const element = draw(found);
    const old = [...one("histograms").children].find((e) => e.dataset.column === name);
    if (old?.contains(dragged)) continue; // whoever drags keeps what they drag
    if (old) old.replaceWith(element); else one("histograms").append(element);
  }
  for (const element of [...one("histograms").children]) if (!opened.includes(element.dataset.column)) element.remove();
}

function draw(found) {
  const column = run.columns.find((c) => c.name === found.column) || { doc: "", by: "" };
  const head = make("header", {}, make("b", { textContent: found.column, title: `${column.doc} ${column.by && `(${column.by})`}` }),
    make("button", { type: "button", className: "x", title: `sort by ${found.column}`, textContent: "⇅", onclick: () => state.change({ sort: state.get("sort") === found.column ? `-${found.column}` : found.column }) }));
  const element = make("div", { className: "histogram", dataset: { column: found.column } }, head);
  if (found.error) element.append(make("p", { className: "hint", textContent: found.error }));
  else if (found.kind === "number") number(element, found);
  else element.append(make("div", { className: "values" }, ...found.values.filter((v) => v.value !== null).map((v) =>
    pressed(v.value, v.n, state.all(`v.${found.column}`).includes(v.value), () => state.toggle(`v.${found.column}`, v.value)))));
  return element;
}

function shape(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

function number(element, found) {
  const svg = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": `histogram of ${found.column}` });
  const most = Math.max(1, ...found.bins.map(([kept, rest]) => kept + rest)), wide = WIDTH / Math.max(1, found.bins.length);
  const tall = (n) => (n ? Math.max(1.5, (HEIGHT - 2) * Math.sqrt(n / most)) : 0); // a root, so that small bins show
  found.bins.forEach(([kept, rest], i) => {
    const whole = tall(kept + rest), part = whole * (kept / Math.max(1, kept + rest));
    svg.append(shape("rect", { class: "k", x: i * wide, width: wide - 0.6, y: HEIGHT - part, height: part }), shape("rect", { class: "d", x: i * wide, width: wide - 0.6, y: HEIGHT - whole, height: whole - part }));
  });
  const x = (value) => WIDTH * Math.min(1, Math.max(0, (value - found.low) / (found.high - found.low)));
  const value = (at) => +(found.low + (at / WIDTH) * (found.high - found.low)).toPrecision(3);
  const range = (state.get(`r.${found.column}`) || "..").split("..");
  if (range[0]) svg.append(shape("rect", { class: "out", x: 0, y: 0, height: HEIGHT, width: x(+range[0]) }));
  if (range[1]) svg.append(shape("rect", { class: "out", x: x(+range[1]), y: 0, height: HEIGHT, width: WIDTH - x(+range[1]) }));
  const limits = limitsOf(found.column);
  for (const side of ["min", "max"]) if (limits[side] !== null) limit(svg, side, limits[side]);
  drag(svg, found);
  element.append(svg, inputs(found, range, limits));

  function limit(svg, side, at) {
    const line = shape("line", { class: "limit", x1: x(at), x2: x(at), y1: 0, y2: HEIGHT }), grip = shape("rect", { class: "grip", x: x(at) - GRIP, y: 0, width: 2 * GRIP, height: HEIGHT, "data-side": side });
    grip.addEventListener("pointerdown", (event) => {
      event.stopPropagation();
      dragged = svg;
      grip.setPointerCapture(event.pointerId);
      const follow = (move) => { const to = spot(svg, move); for (const name of ["x1", "x2"]) line.setAttribute(name, to); };
      grip.addEventListener("pointermove", follow);
      grip.addEventListener("pointerup", (up) => { dragged = null; grip.removeEventListener("pointermove", follow); state.change({ [`t.${found.column}.${side}`]: value(spot(svg, up)) }); }, { once: true });
    });
    svg.append(line, grip);
  }

  function drag(svg, found) {
    svg.addEventListener("pointerdown", (event) => {
      const from = spot(svg, event), cover = shape("rect", { class: "out", y: 0, height: HEIGHT, x: from, width: 0 });
      svg.append(cover);
      dragged = svg;
      svg.setPointerCapture(event.pointerId);
      const follow = (move) => { const to = spot(svg, move); cover.setAttribute("x", Math.min(from, to)); cover.setAttribute("width", Math.abs(to - from)); };
      svg.addEventListener("pointermove", follow);
      svg.addEventListener("pointerup", (up) => {
        dragged = null;
        svg.removeEventListener("pointermove", follow);
        const [low, high] = [from, spot(svg, up)].sort((a, b) => a - b);
        if (high - low < 3) { cover.remove(); return; }
        state.change({ [`r.${found.column}`]: `${low <= EDGE ? "" : value(low)}..${high >= WIDTH - EDGE ? "" : value(high)}` });
      }, { once: true });
    });
  }
}

const spot = (svg, event) => {
  const box = svg.getBoundingClientRect();
  return Math.min(WIDTH, Math.max(0, ((event.clientX - box.left) / box.width) * WIDTH));
};

function limitsOf(column) {
  const own = run.filters.find((f) => f.column === column) || { min: null, max: null };
  const moved = Object.fromEntries(["min", "max"].map((side) => {
    const now = state.entries().find(([name]) => name === `t.${column}.${side}`);
    return [side, now ? (now[1] === "" ? null : +now[1]) : own[side]];
  }));
  return moved;
}

function inputs(found, range, limits) {
  const field = (label, text, placeholder, put) => make("input", { value: text, placeholder, title: label, inputMode: "decimal", onchange: (event) => put(event.target.value.trim()), aria_label: label });
  const span = (i) => (words) => { const next = [...range]; next[i] = words; state.change({ [`r.${found.column}`]: next.some(Boolean) ? next.join("..") : "" }); };
  const row = make("div", { className: "row" },
    field(`show ${found.column} from`, range[0], short(found.min), span(0)), "–", field(`show ${found.column} to`, range[1] || "", short(found.max), span(1)));
  for (const side of ["min", "max"]) row.append(" ", field(`threshold: ${found.column} ${side}`, limits[side] === null ? "" : short(limits[side]), side, (words) => state.change({ [`t.${found.column}.${side}`]: words })));
  return row;
}
