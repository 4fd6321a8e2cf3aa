// One clip in full: it plays, and everything known of it stands beside it.
import * as decide from "./decide.js";
import * as grid from "./grid.js";
import * as state from "./state.js";
import { make, one, short } from "./state.js";

let clip = null;
export const isOpen = () => one("viewer").open;

export function open() {
  clip = grid.current();
  if (!clip) return;
  grid.stop();
  if (!isOpen()) one("viewer").showModal();
  state.change({ clip: clip.clip_id, page: state.get("page") }, true);
  const video = one("video");
  one("play-error").hidden = true;
  video.hidden = false;
  video.poster = grid.still(clip.clip_id, "first");
  video.src = grid.media(clip.clip_id);
  video.play().catch(() => {});
  one("strip").replaceChildren(...["first", "middle", "last"].map((role) => make("img", { alt: role, title: role, src: grid.still(clip.clip_id, role), onerror: (event) => event.target.remove() })));
  buttons();
  one("about").replaceChildren();
  about(clip);
}

function buttons() { one("verdicts").replaceChildren(...decide.buttons(clip)); }

export function close() {
  one("video").removeAttribute("src");
  one("video").load();
  one("viewer").close();
}

one("viewer").addEventListener("close", () => {
  state.change({ clip: "", page: state.get("page") }, true);
  grid.mark(true);
});
one("close").addEventListener("click", close);
one("video").addEventListener("error", async () => {
  if (!isOpen() || !one("video").getAttribute("src")) return;
  let words = "this browser cannot play it";
  try { await state.ask(grid.media(clip.clip_id), { headers: { range: "bytes=0-1" } }); } catch (error) { words = error.message; }
  one("play-error").textContent = words;
  one("play-error").hidden = false;
  one("video").hidden = true;
});
addEventListener("decided", () => { if (isOpen()) { buttons(); about(clip); } });

async function about(mine) {
  const found = await state.ask(`/api/clip/${encodeURIComponent(mine.clip_id)}?` + state.text());
  if (mine !== clip) return;
  const { clip: row, failed, status, alike } = found;
  const told = [make("h2", { textContent: row.relpath ?? row.video_id }),
    make("p", { className: "hint", textContent: `${grid.clock(row.start_s)} to ${grid.clock(row.end_s)}, ${row.width} × ${row.height}, ${short(row.fps)} fps, ${row.clip_id}` }),
    make("p", {}, make("b", { textContent: found.hand?.verdict && found.hand.verdict !== "unsure" ? `${found.hand.verdict} by hand` : found.outcome.replace("_", " ") }), failed.length ? ` fails ${failed.join(", ")}` : "")];
  if (found.hand) told.push(make("p", { className: "hint", textContent: [found.hand.note && `note: ${found.hand.note}`, `${found.hand.who ?? ""} ${(found.hand.when ?? "").slice(0, 16)}`].filter(Boolean).join(" — ") }));
  told.push(make("h3", { textContent: "Captions" }), ...captions(row, found.hand));
  if (alike.length > 1) told.push(make("h3", { textContent: "Duplicates" }), make("div", { className: "alike" }, ...alike.map((other) => twin(other, row.dup_group_id))));
  told.push(make("h3", { textContent: "Scores" }), scores(row, failed, status));
  one("about").replaceChildren(...told);
}

function captions(row, hand) {
  const all = (row.captions || []).map((c) => make("p", { className: "caption" }, c.text ?? `(${c.status})`, make("small", { textContent: [c.source, c.model, c.source === "sidecar" && row.caption_of === "video" && "of the whole video"].filter(Boolean).join(", ") })));
  if (hand?.caption) all.unshift(make("p", { className: "caption" }, make("b", { textContent: hand.caption }), make("small", { textContent: "by hand, in place of the others" })));
  return all.length ? all : [make("p", { className: "hint", textContent: "none; c writes one" })];
}

function twin(other, group) {
  return make("button", { type: "button", title: `${other.relpath} ${grid.clock(other.start_s)}, ${other.outcome}`, onclick: () => { close(); state.change({ dup: group, clip: other.clip_id }); } },
    make("img", { alt: other.relpath ?? "", src: grid.still(other.clip_id, "middle") }));
}

function scores(row, failed, status) {
  const first = (c) => (failed.includes(c.name) ? 0 : limited.has(c.name) ? 1 : c.by ? 2 : 3);
  const names = columns.filter((c) => row[c.name] !== undefined).sort((a, b) => first(a) - first(b));
  const rows = names.map((c) => make("tr", { className: failed.includes(c.name) ? "fails" : "", title: c.doc }, make("td", { textContent: c.name }), make("td", { textContent: short(row[c.name]) })));
  const errors = Object.entries(status).filter(([, word]) => word !== "ok").map(([name, word]) => make("tr", {}, make("td", { textContent: name }), make("td", { textContent: word.replace("_", " ") })));
  return make("table", {}, make("tbody", {}, ...rows, ...errors));
}

let columns = [], limited = new Set();
export function know(run) {
  columns = run.columns;
  limited = new Set(run.filters.map((f) => f.column));
}
