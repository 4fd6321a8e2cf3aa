// The address holds the view: every change is a step that the browser's own Back undoes.

const listeners = [];
let query = new URLSearchParams(location.search);

if (query.has("token")) { // exchanged for a cookie by the answer that brought this page
  query.delete("token");
  history.replaceState(null, "", "?" + query);
}
addEventListener("popstate", () => { query = new URLSearchParams(location.search); tell(); });

export const get = (name) => query.get(name) || "";
export const all = (name) => query.getAll(name);
export const entries = () => [...query];
export const text = (extra = {}) => {
  const whole = new URLSearchParams(query);
  for (const [name, value] of Object.entries(extra)) whole.set(name, value);
  return whole.toString();
};
export const onChange = (listener) => listeners.push(listener);

function tell() { for (const listener of listeners) listener(); }

// changes: name -> value, list of values, or "" to take it out. Whatever changes but the page leads to page 0.
export function change(changes, replace = false) {
  const before = query.toString();
  if (!("page" in changes)) query.delete("page");
  for (const [name, value] of Object.entries(changes)) {
    query.delete(name);
    for (const one of Array.isArray(value) ? value : [value]) if (one !== "" && one != null) query.append(name, one);
  }
  if (query.toString() === before) return;
  history[replace ? "replaceState" : "pushState"](null, "", "?" + query);
  tell();
}

export function toggle(name, value) {
  const now = all(name);
  change({ [name]: now.includes(value) ? now.filter((one) => one !== value) : [...now, value] });
}

export async function ask(path, options = {}) {
  const answer = await fetch(path, options);
  const kind = answer.headers.get("content-type") || "";
  const body = kind.includes("json") ? await answer.json() : { error: await answer.text() };
  if (!answer.ok) throw new Error(body.error || answer.statusText);
  return body;
}

export const send = (path, value) =>
  ask(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(value) });

// An element with text: what comes from a run is never markup.
export function make(tag, properties = {}, ...inside) {
  const { dataset, ...rest } = properties;
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(rest)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("aria") || name === "role" || name === "for") element.setAttribute(name.replace("aria_", "aria-"), value);
    else element[name] = value;
  }
  Object.assign(element.dataset, dataset || {});
  element.append(...inside.filter((one) => one != null));
  return element;
}

export const one = (id) => document.getElementById(id);
export const count = (n) => Number(n).toLocaleString("en");
export function short(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  return Number.isInteger(value) ? String(value) : String(+value.toPrecision(4));
}

let hides = 0;
export function notice(words, good = false) {
  const place = one("notice");
  clearTimeout(hides);
  place.textContent = words;
  place.className = good ? "good" : "";
  place.hidden = !words;
  if (words) hides = setTimeout(() => { place.hidden = true; }, good ? 2500 : 9000);
}
