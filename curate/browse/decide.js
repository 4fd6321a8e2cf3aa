// Decisions by hand, and their undoing: what was said before is said again.
import * as grid from "./grid.js";
import { make, notice, one, send } from "./state.js";

const done = [];
const empty = { verdict: null, note: null, caption: null };

export async function say(clip, changes) {
  const before = { ...empty, ...clip.hand };
  const word = { clip_id: clip.clip_id, ...pick(before), ...changes };
  await put([word]);
  done.push([{ clip_id: clip.clip_id, ...pick(before) }]);
}

const pick = ({ verdict, note, caption }) => ({ verdict, note, caption });

async function put(words) {
  try {
    const { words: now } = await send("/api/decide", { words });
    for (const [clip, hand] of Object.entries(now)) {
      grid.update(clip, hand);
      dispatchEvent(new CustomEvent("decided", { detail: { clip, hand } }));
    }
  } catch (error) {
    notice(error.message);
    throw error;
  }
}

export async function undo() {
  const last = done.pop();
  if (!last) return notice("nothing to undo", true);
  await put(last);
  notice("undone", true);
}

// A text of the person's; null where they leave it.
export function asked(title, text) {
  const dialog = one("ask"), area = one("ask-text");
  one("ask-label").textContent = title;
  area.value = text || "";
  dialog.returnValue = "";
  dialog.showModal();
  area.focus();
  area.select();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "ok" ? area.value : null), { once: true });
  });
}

one("ask-cancel").addEventListener("click", () => one("ask").close("cancel"));
one("ask-text").addEventListener("keydown", (event) => {
  event.stopPropagation();
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); one("ask").close("ok"); }
});

export async function note(clip) {
  const text = await asked("Note on this clip", clip.hand?.note);
  if (text !== null) await say(clip, { note: text });
}

export async function caption(clip) {
  const text = await asked("Caption, as it should be", clip.hand?.caption || clip.caption);
  if (text !== null) await say(clip, { caption: text });
}

export function buttons(clip) {
  const verdicts = [["keep", "k"], ["drop", "d"], ["unsure", "u"]].map(([verdict, key]) =>
    make("button", { type: "button", aria_pressed: String(clip.hand?.verdict === verdict), dataset: { verdict },
      onclick: () => say(clip, { verdict: clip.hand?.verdict === verdict ? null : verdict }) }, `${verdict} `, make("kbd", { textContent: key })));
  return [...verdicts,
    make("button", { type: "button", onclick: () => note(clip) }, "note ", make("kbd", { textContent: "n" })),
    make("button", { type: "button", onclick: () => caption(clip) }, "caption ", make("kbd", { textContent: "c" })),
    make("button", { type: "button", onclick: undo }, "undo ", make("kbd", { textContent: "z" }))];
}
