// The policy's rule, as curate.decisions has it: a filter passes, fails, or is unknown (error, not run). One failure drops a clip,
// whatever is unknown; else one error makes it an error; else not run; else it is kept. Limits are inclusive and compared in the
// precision of the column.

const PASS = 0, FAIL = 1, ERROR = 2, NOT_RUN = 3;
const OUTCOMES = ["kept", "dropped", "error", "not run", "undecided"];
const CLASSES = ["kept", "dropped", "error", "not_run", "not_run"];

const DATA = JSON.parse(document.getElementById("data").textContent);
const N = DATA.ids.length;

for (const column of DATA.columns) {
  column.text = column.values.some((v) => typeof v === "string");
  column.cast = column.float32 ? Math.fround : (v) => v;
  column.missing = new Uint8Array(N);
  for (const i of column.error) column.missing[i] = ERROR;
  for (const i of column.not_run) column.missing[i] = NOT_RUN;
  if (column.text) continue;
  column.values = (column.float32 ? Float32Array : Float64Array).from(column.values, (v) => (v === null ? NaN : v));
  column.sorted = column.values.filter((v) => !Number.isNaN(v)).sort();
}

for (const policy of DATA.policies) {
  policy.recorded = Uint8Array.from(policy.outcome, Number);
  policy.isPinned = new Uint8Array(N);
  for (const i of policy.pinned) policy.isPinned[i] = 1;
  policy.filters.forEach((filter) => { filter.name = DATA.columns[filter.column].name; });
}

const frozen = (policy) => policy.filters.map(({min, max}) => ({min, max}));

function filterState(filter, limits, i) {
  if (filter.fixed) return Number(filter.fixed[i]);
  const column = DATA.columns[filter.column], missing = column.missing[i], v = column.values[i];
  if (missing === NOT_RUN) return NOT_RUN;
  if (missing) return {drop: FAIL, keep: PASS}[filter.on_error] ?? ERROR;
  const low = limits.min !== null && v < column.cast(limits.min), high = limits.max !== null && v > column.cast(limits.max);
  return low || high ? FAIL : PASS;
}

// The state of every clip; kept until the limits change, so that a slider costs one filter's work.
function filterStates(filter, limits) {
  const key = `${limits.min} ${limits.max}`;
  if (filter.key !== key) {
    filter.key = key;
    filter.states = Uint8Array.from({length: N}, (_, i) => filterState(filter, limits, i));
  }
  return filter.states;
}

// Outcome of every clip, and how many each filter fails, alone or not.
function evaluate(policy, limits) {
  const states = policy.filters.map((filter, k) => filterStates(filter, limits[k])), F = states.length;
  const outcome = new Uint8Array(N), fails = new Array(F).fill(0), only = fails.slice();
  for (let i = 0; i < N; i++) {
    let failed = 0, which = -1, error = false, notRun = false;
    for (let k = 0; k < F; k++) {
      const state = states[k][i];
      if (state === FAIL) { failed++; which = k; fails[k]++; }
      error ||= state === ERROR;
      notRun ||= state === NOT_RUN;
    }
    if (failed === 1) only[which]++;
    outcome[i] = policy.isPinned[i] ? policy.recorded[i] : failed ? 1 : error ? 2 : notRun ? 3 : 0;
  }
  return {outcome, fails, only};
}

function margin(filter, limits, i) {
  const column = DATA.columns[filter.column], v = column.values[i];
  if (filter.fixed || column.missing[i] || Number.isNaN(v)) return NaN;
  const below = limits.min === null ? Infinity : v - column.cast(limits.min);
  const above = limits.max === null ? Infinity : column.cast(limits.max) - v;
  return Math.min(below, above);
}

function rule(filter, limits) {
  if (filter.one_of.length) return `${filter.name} ${filter.one_of.length > 1 ? "in" : "is"} ${filter.one_of.join(", ")}`;
  const {min, max} = limits;
  if (min !== null && max !== null) return `${number(min, 6)} ≤ ${filter.name} ≤ ${number(max, 6)}`;
  if (min !== null) return `${filter.name} ≥ ${number(min, 6)}`;
  return max === null ? `${filter.name}: no threshold` : `${filter.name} ≤ ${number(max, 6)}`;
}

// The folder of this file when it was opened from disk, so that commands can be pasted as they are.
function runFolder() {
  if (location.protocol !== "file:") return "RUN";
  const folder = decodeURIComponent(location.pathname).replace(/\/[^/]*$/, "").replace(/^\/([A-Za-z]:)/, "$1");
  return /^[\w@%+=:,./-]+$/.test(folder) ? folder : `'${folder.replaceAll("'", "'\\''")}'`;
}

// All that differs from the run's configuration, because `curate filter` starts from that.
function filterCommand(policy, limits) {
  const {flags, settings, off} = policy.command;
  const changed = policy.filters.flatMap((filter, k) => {
    const own = {...settings[k]};
    for (const [side, rival] of [["min", "drop_lowest"], ["max", "drop_highest"]]) {
      if (limits[k][side] === filter[side]) continue;
      delete own[rival];
      own[side] = `${filter.name}.${side}=${limits[k][side]}`;
    }
    return Object.values(own);
  });
  return ["curate filter", runFolder(), flags, ...[...changed, ...off].map((s) => `--set ${s}`)].filter((s) => s).join(" ");
}
