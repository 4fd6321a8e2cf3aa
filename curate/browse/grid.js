// The cards: a still, a video while the pointer or the focus rests on it, what was decided and why.
import * as state from "./state.js";
import { make, one, count, short } from "./state.js";

const REST_MS = 220;
let clips = [], at = 0, asking = 0, playing = null;
let waiting = 0;

export const current = () => clips[at];
export const place = () => at;
export const shown = () => clips;
export const still = (clip, role) => `/still/${encodeURIComponent(clip)}/${role}`;
export const media = (clip) => `/media/${encodeURIComponent(clip)}`;

export async function load() {
  const mine = ++asking;
  const found = await state.ask("/api/clips?" + state.text());
  if (mine !== asking) return null; // a later question is on its way
  clips = found.clips;
  at = Math.max(0, clips.findIndex((clip) => clip.clip_id === state.get("clip")));
  draw(found);
  return found;
}

function draw(found) {
  stop();
  one("grid").replaceChildren(...clips.map(card));
  if (!clips.length) one("grid").append(make("p", { className: "empty", textContent: "No clip is like that. Take a condition away on the left." }));
  one("grid").scrollTop = 0;
  mark();
}

function card(clip, index) {
  const element = make("article", { className: "clip " + (clip.outcome || "not_run"), tabIndex: -1, role: "gridcell", dataset: { clip: clip.clip_id } });
  const picture = make("img", { alt: "", loading: "lazy", decoding: "async", src: still(clip.clip_id, "middle"), onerror: (event) => event.target.remove() });
  const length = make("span", { className: "over length", textContent: short(clip.duration_s && +clip.duration_s.toFixed(1)) + " s" });
  element.append(make("div", { className: "pic" }, picture, length), make("div", { className: "text" }));
  fill(element, clip);
  element.addEventListener("pointerenter", () => rest(element, clip));
  element.addEventListener("pointerleave", stop);
  element.addEventListener("focus", () => { if (at !== index) { at = index; mark(); } rest(element, clip); });
  element.addEventListener("click", () => { at = index; mark(); element.dispatchEvent(new CustomEvent("opened", { bubbles: true })); });
  return element;
}

function fill(element, clip) {
  element.querySelector(".hand")?.remove();
  const said = clip.hand;
  if (said?.verdict) element.querySelector(".pic").append(make("span", { className: `over hand ${said.verdict}`, textContent: said.verdict }));
  const why = said?.verdict === "keep" || said?.verdict === "drop" ? `${said.verdict} by hand` : (clip.failed || []).join(", ") || (clip.outcome || "").replace("_", " ");
  element.className = `clip ${outcome(clip)}` + (element.classList.contains("at") ? " at" : "");
  element.querySelector(".text").replaceChildren(
    make("span", { className: "why", textContent: why, title: (clip.failed || []).map((f) => `${f} ${short(clip.scores[f])}`).join("\n") }),
    make("span", { className: "said", textContent: said?.note ? `✎ ${said.note}` : said?.caption || clip.caption || " " }),
    make("span", { className: "path", textContent: `${clip.relpath ?? ""} ${clock(clip.start_s)}`, title: clip.relpath ?? "" }));
  element.setAttribute("aria-label", `${why}; ${clip.relpath} at ${clock(clip.start_s)}`);
}

export function outcome(clip) {
  const verdict = clip.hand?.verdict;
  return verdict === "keep" ? "kept" : verdict === "drop" ? "dropped" : clip.outcome || "not_run";
}

export function clock(seconds) {
  if (seconds == null) return "";
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds - 60 * minutes).toFixed(1).padStart(4, "0")}`;
}

export function update(clipId, hand) {
  for (const [index, clip] of clips.entries()) {
    if (clip.clip_id !== clipId) continue;
    clip.hand = hand;
    fill(one("grid").children[index], clip);
  }
}

export function mark(focus = false) {
  for (const [index, element] of [...one("grid").children].entries()) {
    element.classList.toggle("at", index === at);
    if (element.tabIndex !== undefined) element.tabIndex = index === at ? 0 : -1;
  }
  const element = one("grid").children[at];
  if (focus && element) { element.focus({ preventScroll: true }); element.scrollIntoView({ block: "nearest" }); }
}

// steps: how many clips on; false where the page ends.
export function move(steps, focus = true) {
  const next = at + steps;
  if (next < 0 || next >= clips.length) return false;
  at = next;
  mark(focus);
  return true;
}

export function go(index, focus = true) { at = Math.max(0, Math.min(clips.length - 1, index)); mark(focus); }

export function columns() {
  return getComputedStyle(one("grid")).gridTemplateColumns.split(" ").length;
}

function rest(element, clip) {
  if (playing?.element === element) return; // to take the video away under a pressed pointer would lose the click
  stop();
  waiting = setTimeout(() => {
    const wait = make("span", { className: "over wait", textContent: "…" });
    const video = make("video", { muted: true, loop: true, playsInline: true, autoplay: true, src: media(clip.clip_id) });
    video.addEventListener("playing", () => wait.remove());
    video.addEventListener("error", () => { wait.textContent = "cannot play"; });
    playing = { element, video, wait };
    element.querySelector(".pic").append(video, wait);
    video.play().catch(() => {});
  }, REST_MS);
}

export function stop() {
  clearTimeout(waiting);
  if (!playing) return;
  playing.video.removeAttribute("src"); // ends the request, too
  playing.video.load();
  playing.video.remove();
  playing.wait.remove();
  playing = null;
}

export const total = (found) => `${count(found.total)} clips`;
