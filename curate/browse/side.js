// The left side: outcomes, the funnel, splits; what is asked for, and how to take it away.
import * as state from "./state.js";
import { count, make, one } from "./state.js";

const NAMES = { kept: "kept", dropped: "dropped", error: "error", not_run: "not run" };
const HANDS = ["keep", "drop", "unsure", "any", "none"];
const PLAIN = new Set(["page", "size", "sort", "clip"]);

export function pressed(words, n, isOn, press, extra = "") {
  return make("button", { type: "button", className: `tag ${extra}`, aria_pressed: String(isOn), onclick: press, title: words },
    words, n === null ? "" : make("span", { className: "n", textContent: count(n) }));
}

function group(title, name, values, show = (v) => v || "none") {
  const tags = values.map(([value, n]) => pressed(show(value), n, state.all(name).includes(value), () => state.toggle(name, value), name === "outcome" ? `dot ${value}` : ""));
  return make("div", { className: "group" }, make("h2", { textContent: title }), make("div", { className: "tags" }, ...tags));
}

export function draw(found) {
  const outcomes = Object.keys(NAMES).filter((name) => found.outcome[name] || state.all("outcome").includes(name)).map((name) => [name, found.outcome[name] || 0]);
  const hands = HANDS.map((name) => [name, name === "none" ? found.hand[""] || 0 : name === "any" ? ["keep", "drop", "unsure"].reduce((sum, v) => sum + (found.hand[v] || 0), 0) : found.hand[name] || 0]);
  one("outcomes").replaceChildren(group("Outcome", "outcome", outcomes, (v) => NAMES[v]), group("By hand", "hand", hands));
  const places = ["split", "shard"].filter((name) => found[name]).map((name) => group(name === "split" ? "Split" : "Shard", name, Object.entries(found[name]).filter(([v]) => v).slice(0, 12)));
  one("splits").replaceChildren(...places);
  funnel(found.funnel);
  moved(found);
  chosen();
}

function funnel(rows) {
  const most = Math.max(1, ...rows.map((row) => row.fails));
  one("funnel").replaceChildren(...rows.map((row) => {
    const bar = make("i");
    bar.style.width = `${(100 * row.fails) / most}%`;
    return make("button", { type: "button", className: "filter", aria_pressed: String(state.all("by").includes(row.column)), dataset: { by: row.column },
      title: `${count(row.fails)} fail it, ${count(row.alone)} fail nothing else; ${count(row.leaves)} leave here when the filters are asked in order`,
      onclick: () => state.toggle("by", row.column) },
      make("code", { textContent: row.text }), make("span", { className: "n", textContent: `${count(row.fails)} · ${count(row.alone)} alone` }), make("span", { className: "bar" }, bar));
  }));
  if (!rows.length) one("funnel").append(make("p", { className: "hint", textContent: "This run has no decisions of a policy." }));
}

// Thresholds that were moved: what that would change, put back, saved under a name.
function moved(found) {
  const names = state.entries().map(([name]) => name).filter((name) => name.startsWith("t."));
  const place = one("moved");
  place.hidden = !names.length;
  if (!names.length) return;
  const before = found.before?.kept || 0, after = found.outcome.kept || 0;
  const name = make("input", { placeholder: "name of a policy", required: true, pattern: "[A-Za-z0-9][A-Za-z0-9._\\-]*", autocomplete: "off", aria_label: "name of a policy" });
  const form = make("form", { onsubmit: async (event) => {
    event.preventDefault();
    try { state.notice((await state.send("/api/policy?" + state.text(), { name: name.value })).told, true); } catch (error) { state.notice(error.message); }
  } }, name, make("button", { textContent: "Save" }));
  place.replaceChildren(
    make("p", {}, make("b", { textContent: "Thresholds moved. " }), `Kept: ${count(before)} → ${count(after)} (${after < before ? "−" : "+"}${count(Math.abs(after - before))})`),
    form, make("p", {}, make("button", { type: "button", className: "tag", textContent: "put them back", onclick: () => state.change(Object.fromEntries(names.map((key) => [key, ""]))) })));
}

function chosen() {
  const asked = state.entries().filter(([name]) => !PLAIN.has(name) && !name.startsWith("t."));
  const place = one("chosen");
  place.hidden = !asked.length;
  place.replaceChildren(make("div", { className: "tags" },
    ...asked.map(([name, value]) => make("button", { type: "button", className: "tag", title: "take it away", onclick: () => state.change({ [name]: state.all(name).filter((v) => v !== value) }) }, `${name.replace(/^[rv]\./, "")} ${value} ✕`)),
    asked.length > 1 ? make("button", { type: "button", className: "tag", textContent: "take all away", onclick: () => state.change(Object.fromEntries(asked.map(([name]) => [name, ""]))) }) : null));
}
