// Starts the page, and hears the keys.
import * as decide from "./decide.js";
import * as grid from "./grid.js";
import * as histogram from "./histogram.js";
import * as review from "./review.js";
import * as side from "./side.js";
import * as state from "./state.js";
import { count, make, notice, one } from "./state.js";
import * as viewer from "./viewer.js";

const KEYS = [["← ↑ ↓ →", "go from clip to clip"], ["Enter", "look at it in full"], ["k  d  u", "keep, drop, unsure (again: take it back)"], ["n  c", "a note, a corrected caption"], ["z", "undo"], ["Space", "play, pause"], [", .", "a frame back, a frame on"], ["[  ]", "page before, next page"], ["/", "search"], ["f", "the filters, on a narrow screen"], ["Esc", "close"]];
const FRAME_S = 1 / 24;
let run = null, last = null;

async function start() {
  try {
    run = await state.ask("/api/run");
  } catch (error) { return notice(error.message); }
  document.title = `${run.name} – clipmill`;
  one("name").textContent = run.name;
  viewer.know(run);
  histogram.know(run);
  sorts();
  one("keys").replaceChildren(...KEYS.flatMap(([keys, words]) => [make("dt", {}, ...keys.split("  ").flatMap((key) => [make("kbd", { textContent: key }), " "])), make("dd", { textContent: words })]));
  state.onChange(show);
  await show();
  one("grid").children[grid.place()]?.focus({ preventScroll: true });
  if (state.get("clip") && grid.current()?.clip_id === state.get("clip")) viewer.open();
}

let shownFor = null;
async function show() {
  const view = state.text({ clip: "" });
  if (view === shownFor) return;
  shownFor = view;
  one("q").value = state.get("q");
  one("where").value = state.get("where");
  one("sort").value = state.get("sort");
  try {
    const found = await grid.load();
    if (!found) return;
    last = found;
    pager(found);
    notice("");
    if (!run.ready) await ready();
    side.draw(await state.ask("/api/facets?" + state.text()));
    await review.load();
    await histogram.load();
  } catch (error) { notice(error.message); }
}

async function ready() {
  while (!run.ready) {
    run = await state.ask("/api/run");
    if (!run.ready) notice(`reading the table: ${count(run.copied)} of ${count(run.clips)} clips`, true);
    if (!run.ready) await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

function pager(found) {
  const pages = Math.max(1, Math.ceil(found.total / size()));
  one("total").replaceChildren(make("b", { textContent: count(found.total) }), found.total === run.clips ? " clips" : ` of ${count(run.clips)}`);
  one("at").textContent = `${count(found.page + 1)} / ${count(pages)}`;
  one("prev").disabled = found.page <= 0;
  one("next").disabled = found.page >= pages - 1;
}

const size = () => +(state.get("size") || 60);

function turn(by) {
  if (!last) return;
  const pages = Math.ceil(last.total / size()), next = last.page + by;
  if (next >= 0 && next < pages) state.change({ page: next || "", clip: "" });
}

function sorts() {
  const numbers = run.columns.filter((c) => c.kind === "number").map((c) => c.name);
  const near = run.filters.filter((f) => f.one_of === null).map((f) => f.column);
  const group = (label, options) => make("optgroup", { label }, ...options.map(([value, words]) => make("option", { value, textContent: words })));
  one("sort").replaceChildren(make("option", { value: "", textContent: "as in the videos" }),
    make("option", { value: "random", textContent: "shuffled" }), make("option", { value: "fails", textContent: "most filters failed" }),
    group("nearest to a threshold", near.map((name) => [`near:${name}`, `nearest: ${name}`])),
    group("lowest first", numbers.map((name) => [name, `${name} ↑`])), group("highest first", numbers.map((name) => [`-${name}`, `${name} ↓`])));
  one("sort").value = state.get("sort");
}

one("sort").addEventListener("change", (event) => state.change({ sort: event.target.value }));
let typing = 0;
one("q").addEventListener("input", (event) => { clearTimeout(typing); typing = setTimeout(() => state.change({ q: event.target.value.trim() }), 250); });
one("where").addEventListener("change", (event) => state.change({ where: event.target.value.trim() }));
one("prev").addEventListener("click", () => turn(-1));
one("next").addEventListener("click", () => turn(1));
one("help-button").addEventListener("click", () => one("help").showModal());
one("help-close").addEventListener("click", () => one("help").close());
one("menu").addEventListener("click", () => menu());
one("grid").addEventListener("opened", () => viewer.open());
one("grid").addEventListener("click", (event) => { // beside the open filters: that closes them
  if (one("side").classList.contains("open")) { menu(false); event.stopPropagation(); }
}, true);

function menu(open = !one("side").classList.contains("open")) {
  one("side").classList.toggle("open", open);
  one("menu").setAttribute("aria-expanded", String(open));
}

async function verdict(word) {
  const clip = grid.current();
  if (!clip) return;
  const again = clip.hand?.verdict === word;
  await decide.say(clip, { verdict: again ? null : word });
  if (again) return;
  if (viewer.isOpen()) { if (grid.move(1, false)) viewer.open(); } else grid.move(1);
}

const onClip = { k: () => verdict("keep"), d: () => verdict("drop"), u: () => verdict("unsure"), n: () => decide.note(grid.current()), c: () => decide.caption(grid.current()), z: () => decide.undo() };

function step(steps) {
  if (!grid.move(steps, !viewer.isOpen())) return;
  if (viewer.isOpen()) viewer.open();
}

function frame(by) {
  const video = viewer.isOpen() ? one("video") : null;
  if (video) { video.pause(); video.currentTime = Math.max(0, video.currentTime + by * FRAME_S); }
}

const moves = { ArrowLeft: () => step(-1), ArrowRight: () => step(1), ArrowUp: () => step(viewer.isOpen() ? -1 : -grid.columns()), ArrowDown: () => step(viewer.isOpen() ? 1 : grid.columns()), "[": () => turn(-1), "]": () => turn(1), PageUp: () => turn(-1), PageDown: () => turn(1),
  Home: () => grid.go(0), End: () => grid.go(1e9), Enter: () => { if (!viewer.isOpen()) viewer.open(); }, "/": () => one("q").focus(), "?": () => one("help").showModal(), f: () => menu(),
  ",": () => frame(-1), ".": () => frame(1), " ": () => { const video = one("video"); if (!viewer.isOpen()) viewer.open(); else if (video.paused) video.play(); else video.pause(); } };

addEventListener("keydown", (event) => {
  const types = event.target.closest("input, textarea, select");
  if (event.key === "Escape" && types && !one("ask").open) { event.target.blur(); grid.mark(true); return; }
  if (types || one("ask").open || one("help").open || event.altKey) return;
  if ((event.ctrlKey || event.metaKey) && event.key !== "z") return;
  const onButton = event.target.closest("button") && (event.key === "Enter" || event.key === " ");
  const act = onClip[event.key] || moves[event.key];
  if (!act || onButton || (event.target === one("video") && event.key === " ")) return;
  event.preventDefault();
  Promise.resolve(act()).catch((error) => notice(error.message));
});

start();
