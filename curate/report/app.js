// The page: score cards with sliders, galleries, the clip viewer, copy buttons. All text goes in through append(), never as HTML.

const $ = (id) => document.getElementById(id);
const MAX_CHANGED = 48;
const state = {policy: 0, limits: [], cards: [], pending: 0};
const current = () => DATA.policies[state.policy];

// ---- score cards

function buildScores() {
  const policy = current();
  state.limits = frozen(policy);
  state.cards = [];
  const cards = [];
  policy.filters.forEach((filter, k) => {
    const column = DATA.columns[filter.column];
    if (filter.fixed || column.text || !column.sorted.length) return;
    const card = scoreCard(column, filter, k);
    state.cards.push(card);
    cards.push(card.node);
  });
  $("scores").replaceChildren(...cards);
  const used = new Set(policy.filters.map((f) => f.column));
  const rest = DATA.columns.filter((c, i) => !used.has(i) && !c.text && c.sorted.length);
  $("other-scores").replaceChildren(...rest.map((c) => scoreCard(c, null, -1).node));
  $("other").hidden = !rest.length;
}

function scoreCard(column, filter, k) {
  const limits = filter ? ["min", "max"].filter((s) => filter[s] !== null) : [];
  const axis = makeAxis(column.sorted, limits.map((s) => filter[s]));
  const bins = binned(column.values, axis);
  const chart = histogram(column, axis, bins, (clips) => openViewer(clips, 0));
  const plot = el("div", {class: "plot"}, chart.svg);
  const lines = limits.map(() => plot.appendChild(el("i", {class: "line"})));
  const said = el("span", {class: "said"});
  const node = el("article", {class: "score"}, el("header", {}, el("h4", {}, column.name), said), el("p", {class: "doc", title: column.doc}, column.doc), plot);
  if (chart.root) plot.append(el("span", {class: "scale"}, "height: √ of the count"));
  const card = {node, filter, k, limits, axis, chart, lines, said, controls: [], drawn: null};
  if (filter) {
    card.controls = limits.map((side) => control(card, side, column));
    node.append(...card.controls.map((c) => c.range), chart.labels, el("div", {class: "fields"}, ...card.controls.map((c) => c.field)));
  } else {
    colourBars(chart.bars, () => false);
    node.append(chart.labels);
    said.append(`median ${number(column.sorted[Math.floor(column.sorted.length / 2)])}`);
  }
  return card;
}

function control(card, side, column) {
  const word = side === "min" ? "at least" : "at most", start = card.filter[side];
  const range = el("input", {type: "range", min: "0", max: String(STEPS), step: "1", "aria-label": `${column.name} ${word}`});
  range.dataset.filter = column.name;
  range.dataset.side = side;
  const input = el("input", {type: "number", step: "any", "aria-label": `${column.name} ${word}, exact value`});
  const home = Math.round(card.axis.place(start) * STEPS);
  const field = el("label", {}, `${word} `, input);
  range.addEventListener("input", () => {
    const at = Number(range.value);
    setLimit(card, side, at === home ? start : sliderValue(card.axis, side, at));
  });
  input.addEventListener("change", () => {
    const typed = input.value === "" ? start : Number(input.value);
    setLimit(card, side, Number.isFinite(typed) ? typed : start);
  });
  return {side, range, input, field};
}

// Four digits are exact against the page's rounded scores; the ends of the axis mean "no clip fails".
function sliderValue(axis, side, at) {
  if (side === "min" && at === 0) return roundOut(axis.least, Math.floor);
  if (side === "max" && at === STEPS) return roundOut(axis.most, Math.ceil);
  const value = axis.value(at / STEPS);
  return axis.whole ? Math.round(value) : Number(value.toPrecision(3));
}

function roundOut(value, toward) {
  const near = Number(value.toPrecision(4)), passed = toward === Math.floor ? near > value : near < value;
  if (!passed) return near;
  const unit = 10 ** (Math.floor(Math.log10(Math.abs(near))) - 3);
  return Number((near + (toward === Math.floor ? -unit : unit)).toPrecision(4));
}

function setLimit(card, side, value) {
  state.limits[card.k][side] = value;
  state.pending ||= requestAnimationFrame(() => { state.pending = 0; update(); });
}

function drawCard(card, found) {
  const limits = state.limits[card.k];
  card.controls.forEach(({side, range, input}, j) => {
    const share = card.axis.place(limits[side]);
    range.value = String(Math.round(share * STEPS));
    range.setAttribute("aria-valuetext", number(limits[side]));
    if (document.activeElement !== input) input.value = String(Number(limits[side].toPrecision(6)));
    card.lines[j].style.left = `${100 * share}%`;
  });
  if (card.drawn !== card.filter.key) {
    const {states} = card.filter;
    card.drawn = card.filter.key;
    colourBars(card.chart.bars, (i) => states[i] === FAIL);
  }
  const changed = card.limits.some((s) => limits[s] !== card.filter[s]);
  card.node.classList.toggle("moved", changed);
  card.said.replaceChildren(`${count(found.fails[card.k])} fail, ${count(found.only[card.k])} only this`);
}

// ---- what if

function update() {
  const policy = current(), found = evaluate(policy, state.limits), counts = [0, 0, 0, 0, 0], incoming = [], outgoing = [];
  for (let i = 0; i < N; i++) {
    const now = found.outcome[i], was = policy.recorded[i];
    counts[now]++;
    if (now === 0 && was !== 0) incoming.push(i);
    if (now !== 0 && was === 0) outgoing.push(i);
  }
  state.cards.forEach((card) => drawCard(card, found));
  $("kept-now").textContent = count(counts[0]);
  $("clips-all").textContent = count(N);
  $("rate-now").textContent = percent(counts[0], N);
  $("n-in").textContent = count(incoming.length);
  $("n-out").textContent = count(outgoing.length);
  $("outcome").classList.toggle("moved", incoming.length + outgoing.length > 0);
  $("reset").disabled = policy.filters.every((f, k) => f.min === state.limits[k].min && f.max === state.limits[k].max);
  $("command").textContent = filterCommand(policy, state.limits);
  $("whatif-stack").replaceChildren(...counts.map((n, k) => bar(CLASSES[k], n)).filter((b) => b));
  showChanged(incoming, outgoing);
}

function bar(name, n) {
  if (!n) return null;
  const node = el("i", {class: name});
  node.style.width = `${100 * n / N}%`;
  return node;
}

function showChanged(incoming, outgoing) {
  const half = MAX_CHANGED / 2, pictures = (list) => [...list.filter((i) => DATA.thumbs[i]), ...list.filter((i) => !DATA.thumbs[i])];
  const shownIn = pictures(incoming).slice(0, Math.max(half, MAX_CHANGED - outgoing.length));
  const shownOut = pictures(outgoing).slice(0, MAX_CHANGED - shownIn.length), all = [...shownIn, ...shownOut];
  const rest = incoming.length + outgoing.length - all.length;
  $("changed").replaceChildren(...all.map((i, k) => clipCard(i, all, k, k < shownIn.length ? "comes in" : "goes out", "")));
  $("no-change").hidden = all.length > 0 && !rest;
  $("no-change").textContent = rest ? `${count(all.length)} of ${count(all.length + rest)} are shown.` : all.length ? "" : "Move a slider to see them here.";
}

// ---- galleries

function buildGalleries() {
  const policy = current(), blocks = [];
  const add = (title, groups) => {
    if (title && groups.length) blocks.push(el("h3", {}, title));
    for (const group of groups) blocks.push(galleryBlock(group, !title));
  };
  const starts = (word) => policy.groups.filter((g) => g.key.startsWith(word));
  add("", starts("kept"));
  add("Dropped, by filter", starts("dropped:"));
  add("Near a threshold", starts("boundary:"));
  add("Undecided", [...starts("error"), ...starts("not_run")]);
  add("Where policies differ", DATA.differ);
  $("galleries").replaceChildren(...blocks);
}

function galleryBlock(group, large) {
  const heading = el(large ? "h3" : "h4", {}, group.title, " ");
  const near = group.key.startsWith("boundary:");
  const shown = group.clips.length < group.total ? `${count(group.clips.length)} shown of ` : "";
  if (!near) heading.append(el("span", {class: "tag"}, shown + count(group.total)));
  const block = el("section", {class: near ? "group half" : "group"}, heading);
  if (group.note) block.append(el("p", {class: "note"}, group.note));
  const focus = group.key.split(":")[1];
  block.append(el("div", {class: "gallery"}, ...group.clips.map((i, k) => clipCard(i, group.clips, k, "", focus))));
  return block;
}

function clipCard(i, list, k, badge, focus) {
  const node = el("button", {type: "button", class: "clip"}, picture(i));
  node.dataset.clip = DATA.ids[i];
  const name = DATA.videos[DATA.video[i]], span = `${seconds(DATA.start[i])} – ${seconds(DATA.end[i])}`;
  if (badge) node.append(el("span", {class: `badge ${badge === "comes in" ? "kept" : "dropped"}`}, badge));
  node.append(el("span", {class: "name"}, el("bdi", {}, name)), el("span", {class: "span"}, span), el("span", {class: "why"}, reason(i, focus, badge === "goes out" ? state.limits : frozen(current()))));
  node.title = `${name}\n${span}\n${summary(i)}`;
  node.addEventListener("click", () => openViewer(list, k));
  return node;
}

function picture(i) {
  const thumb = DATA.thumbs[i], box = el("span", {class: "frame"});
  if (!thumb) { box.append(el("span", {class: "none"}, "no picture stored")); return box; }
  const [n, width, height, jpeg] = thumb, where = `${DATA.videos[DATA.video[i]]} at ${seconds(DATA.start[i])}`;
  const image = el("img", {alt: `Frame of ${where}`, width: String(width), height: String(height), src: `data:image/jpeg;base64,${jpeg}`});
  image.style.aspectRatio = `${width} / ${height}`;
  const shape = width / height / (16 / 9);
  image.className = Math.abs(shape - 1) < 0.03 ? "full" : shape > 1 ? "wide" : "";
  const show = (k) => { image.style.objectPosition = n > 1 ? `${100 * k / (n - 1)}% 0` : "0 0"; };
  show(Math.floor(n / 2));
  box.addEventListener("pointermove", (event) => {
    const area = box.getBoundingClientRect();
    show(Math.min(n - 1, Math.max(0, Math.floor(n * (event.clientX - area.left) / area.width))));
  });
  box.addEventListener("pointerleave", () => show(Math.floor(n / 2)));
  box.append(image);
  return box;
}

// What a card says in one line: the score in focus, or else the first filter that fails.
function reason(i, focus, limits) {
  const policy = current();
  let k = policy.filters.findIndex((f) => f.name === focus);
  if (k < 0) k = policy.filters.findIndex((f, j) => filterState(f, limits[j], i) !== PASS);
  if (k < 0) return `${number(DATA.end[i] - DATA.start[i], 3)} s`;
  const more = policy.filters.filter((f, j) => j !== k && filterState(f, limits[j], i) === FAIL).length;
  return `${policy.filters[k].name} ${shown(DATA.columns[policy.filters[k].column], i)}${more ? ` · +${more} more` : ""}`;
}

function shown(column, i) {
  if (column.missing[i]) return column.missing[i] === ERROR ? "failed" : "not run";
  return column.text ? column.values[i] : number(column.values[i]);
}

function summary(i) {
  const policy = current(), limits = frozen(policy);
  const lines = policy.filters.map((f, k) => `${["✓", "✗", "!", "…"][filterState(f, limits[k], i)]} ${f.name} ${shown(DATA.columns[f.column], i)}  (${rule(f, limits[k])})`);
  return [OUTCOMES[policy.recorded[i]], ...lines].join("\n");
}

// ---- viewer

let viewed = {list: [], k: 0};

function openViewer(list, k) {
  viewed = {list, k};
  const dialog = $("viewer");
  drawViewer();
  if (!dialog.open) dialog.showModal();
}

function step(by) {
  const k = viewed.k + by;
  if (k >= 0 && k < viewed.list.length) { viewed.k = k; drawViewer(); }
}

function drawViewer() {
  const i = viewed.list[viewed.k], policy = current(), outcome = policy.recorded[i];
  const previous = el("button", {type: "button", disabled: viewed.k === 0, "aria-label": "Previous clip"}, "←");
  const next = el("button", {type: "button", disabled: viewed.k === viewed.list.length - 1, "aria-label": "Next clip"}, "→");
  const close = el("button", {type: "button", "aria-label": "Close"}, "✕");
  previous.addEventListener("click", () => step(-1));
  next.addEventListener("click", () => step(1));
  close.addEventListener("click", () => $("viewer").close());
  const title = el("h2", {id: "v-title"}, el("bdi", {}, DATA.videos[DATA.video[i]]));
  const where = `${seconds(DATA.start[i])} – ${seconds(DATA.end[i])} · clip ${viewed.k + 1} of ${viewed.list.length} here`;
  const head = el("header", {}, el("div", {}, title, el("p", {}, el("span", {class: `badge ${CLASSES[outcome]}`}, OUTCOMES[outcome]), " ", where)), el("div", {class: "buttons"}, previous, next, close));
  const body = el("div", {class: "body"}, strip(i), verdicts(i, policy), numbers(i, policy), texts(i), inspect(i));
  $("viewer").replaceChildren(head, body);
}

function strip(i) {
  const thumb = DATA.thumbs[i];
  if (!thumb) return el("p", {class: "note"}, "This clip has no picture in the report.");
  const [n, width, height, jpeg] = thumb, words = n > 1 ? "First, middle and last frame" : "Middle frame";
  const image = el("img", {class: "strip", alt: words, width: String(n * width), height: String(height), src: `data:image/jpeg;base64,${jpeg}`});
  return image;
}

function rows(head, lines, name) {
  const cell = (text, k, tag) => el(tag, k ? {class: "n"} : {scope: tag === "th" ? "row" : ""}, text);
  const top = el("thead", {}, el("tr", {}, ...head.map((h, k) => el("th", {scope: "col", class: k ? "n" : ""}, h))));
  const body = el("tbody", {}, ...lines.map((line) => el("tr", {}, ...line.map((text, k) => cell(text, k, k ? "td" : "th")))));
  return el("div", {class: "scroll"}, el("table", {class: `plain ${name}`}, top, body));
}

function verdicts(i, policy) {
  const limits = frozen(policy), mark = (state) => el("span", {class: `badge ${CLASSES[state]}`}, ["pass", "fail", "error", "not run"][state]);
  const lines = policy.filters.map((f, k) => {
    const distance = margin(f, limits[k], i), shownMargin = Number.isNaN(distance) ? "–" : (distance > 0 ? "+" : "") + number(distance, 3).replace("-", "−");
    return [rule(f, limits[k]), shown(DATA.columns[f.column], i), shownMargin, mark(filterState(f, limits[k], i))];
  });
  return lines.length ? rows([`policy ${policy.name}`, "value", "margin", ""], lines, "verdicts") : el("p", {class: "note"}, "The policy has no filters.");
}

function numbers(i, policy) {
  const used = new Set(policy.filters.map((f) => f.column));
  const lines = DATA.columns.flatMap((c, k) => (used.has(k) ? [] : [[el("span", {title: c.doc}, c.name), shown(c, i), c.by]]));
  return lines.length ? rows(["other numbers", "value", "made by"], lines, "numbers") : "";
}

function texts(i) {
  const found = Object.entries(DATA.texts[i] ?? {});
  return found.length ? el("dl", {class: "facts"}, ...found.map(([k, v]) => el("div", {}, el("dt", {}, k), el("dd", {}, v)))) : "";
}

function inspect(i) {
  const code = el("code", {id: "inspect"}, `curate inspect ${runFolder()} ${DATA.ids[i]}`);
  const button = el("button", {type: "button"}, "Copy");
  button.dataset.copy = "inspect";
  return el("div", {class: "command"}, code, button);
}

// ---- start

async function copy(button) {
  const source = $(button.dataset.copy), was = button.textContent;
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(source);
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = was; }, 1500);
}

function choosePolicy(k) {
  state.policy = k;
  const pinned = current().pinned.length;
  buildGalleries();
  if (!$("scores")) return;
  buildScores();
  $("pinned-note").hidden = !pinned;
  $("pinned-note").textContent = `${count(pinned)} clips were decided differently from what their scores say now; sliders leave them as they are.`;
  update();
}

document.addEventListener("click", (event) => { const b = event.target.closest("[data-copy]"); if (b) copy(b); });
$("viewer").addEventListener("keydown", (event) => { if (event.key === "ArrowLeft") step(-1); if (event.key === "ArrowRight") step(1); });
$("viewer").addEventListener("click", (event) => { if (event.target === $("viewer")) $("viewer").close(); });
$("policy")?.addEventListener("change", (event) => choosePolicy(Number(event.target.value)));
$("reset")?.addEventListener("click", () => { state.limits = frozen(current()); update(); });
if (DATA.policies.length && $("galleries")) choosePolicy(0);
