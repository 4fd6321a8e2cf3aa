// A random sample to decide by hand, and what it says of each filter.
import * as state from "./state.js";
import { count, make, one } from "./state.js";

const SIZES = [50, 100, 200, 400];
const percent = (found) => found ? `${Math.round(100 * found[0])} % (${Math.round(100 * found[1])}–${Math.round(100 * found[2])})` : "–";

export async function load() {
  const now = state.get("sample");
  const draw = make("div", { className: "tags" }, ...SIZES.map((n) => make("button", { type: "button", className: "tag", aria_pressed: String(now === String(n)), textContent: `${n} at random`,
    onclick: () => state.change(now === String(n) ? { sample: "" } : { sample: n, sort: "random" }) })));
  one("review").replaceChildren(draw);
  if (!now) return;
  const found = await state.ask("/api/review?" + state.text());
  if (state.get("sample") !== now) return;
  const rows = found.filters.filter((row) => row.dropped || row.filter === null).map((row) => make("tr", {}, make("td", { textContent: row.filter ?? "all together" }), make("td", { textContent: percent(row.precision) }), make("td", { textContent: percent(row.recall) })));
  one("review").replaceChildren(draw, make("p", { className: "hint", textContent: `${count(found.decided)} of ${count(found.drawn)} decided, ${count(found.bad)} dropped by hand. Precision: of what a filter drops, the share that you drop. Recall: of what you drop, the share that it drops. In brackets the 95 % interval.` }),
    make("table", {}, make("thead", {}, make("tr", {}, ...["", "precision", "recall"].map((words) => make("th", { textContent: words })))), make("tbody", {}, ...rows)));
}

addEventListener("decided", load);
