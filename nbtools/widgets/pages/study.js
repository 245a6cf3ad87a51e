// The study page: robust accuracy for every choice there is, how the networks trained, and all runs.

const study = await box("study").catch(complain);
const { answers, levels, looks } = study;
const ALL = "all";
const allowed = {
  alpha: study.alphas,
  seeds: study.seeds,
  attack: study.attacks,
  e: levels.map(String),
  notebook: [ALL, ...study.notebooks],
  metric: Object.keys(study.metrics),
};
const networks = study.notebooks.find((name) => name.startsWith("03")) ?? ALL;
const first = { alpha: study.alpha, seeds: study.seeds[0], attack: study.attacks[0], e: String(levels[Math.floor(levels.length / 2)]) };
const { state, set } = stateOf({ ...first, notebook: networks, metric: "accuracy", words: "" }, allowed, () => show());
state.words = new URLSearchParams(location.hash.slice(1)).get("words") ?? "";

// --- accuracy -----------------------------------------------------------------------------------------------

const answerOf = (seeds) => answers[`${state.alpha}|${seeds}|${state.attack}`] ?? { missing: "no network was attacked so" };

function at(answer, level) {
  const { accuracy: table } = answer;
  const found = {};
  table?.condition.forEach((name, row) => {
    if (Math.abs(table.level[row] - level) > 1e-3) return;
    found[name] = { accuracy: table.accuracy[row], ci_low: table.ci_low[row], ci_high: table.ci_high[row] };
  });
  return found;
}

const each = () => state.seeds.split(" ").filter((_, __, all) => all.length > 1).map(answerOf);
const ends = (table) => Object.values(table).flatMap((one) => [one.accuracy, one.ci_low ?? one.accuracy, one.ci_high ?? one.accuracy]);
const tall = (width) => Math.min(380, Math.max(260, width * 0.5));

const clean = chart("clean", tall, (svg, width, height) => {
  const [table, seeds] = [at(answerOf(state.seeds), 0), each().map((answer) => at(answer, 0))];
  if (!Object.keys(table).length) return "nothing to show";
  const all = [table, ...seeds].flatMap(ends);
  const range = [Math.max(0, Math.min(...all) - 0.02), Math.min(1, Math.max(...all) + 0.02)];
  return `accuracy on clean images: ${hierarchy(svg, width, height, study, table, seeds, range)}`;
});
const attacked = chart("attacked", tall, (svg, width, height) => {
  const [answer, level] = [answerOf(state.seeds), Number(state.e)];
  const table = at(answer, level);
  if (!Object.keys(table).length) return "nothing to show";
  const top = Math.max(...levels.flatMap((one) => ends(at(answer, one))));
  const seeds = each().map((one) => at(one, level));
  return `accuracy at ε = ${state.e}/255: ${hierarchy(svg, width, height, study, table, seeds, [0, Math.min(1, top + 0.04)])}`;
});

// --- runs ---------------------------------------------------------------------------------------------------

// Every word must be a value, or name=value.
function found() {
  const wanted = state.words.toLowerCase().split(/\s+/).filter(Boolean);
  const column = study.runs.columns.indexOf("notebook");
  return study.runs.rows
    .map((_, row) => row)
    .filter((row) => state.notebook === ALL || study.runs.rows[row][column] === state.notebook)
    .filter((row) => wanted.every((word) => study.words[row].includes(word)));
}

const shownCurves = () => {
  const rows = new Set(found());
  return study.curves.filter((one) => rows.has(one.row) && one[state.metric]);
};

const curves = chart("curves", (width) => (shownCurves().length ? Math.min(320, Math.max(220, width / 3)) : 4), (svg, width, height) => {
  const shown = shownCurves();
  if (!shown.length) return "no curves";
  const values = shown.flatMap((one) => one[state.metric]).filter((value) => value !== null);
  const most = Math.max(...shown.map((one) => one[state.metric].length));
  const frame = { left: 46, top: 8, right: width - 14, bottom: height - 40 };
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const x = place(1, Math.max(most, 2), frame.left + 8, frame.right);
  const y = place(low - 0.05 * (high - low), high + 0.05 * (high - low), frame.bottom, frame.top);
  const every = Math.ceil(most / 12);
  const xs = Array.from({ length: most }, (_, epoch) => [x(epoch + 1), epoch % every ? "" : String(epoch + 1)]);
  const ys = [0, 1, 2, 3, 4].map((step) => low + (step * (high - low)) / 4).map((value) => [y(value), value.toFixed(2)]);
  axes(svg, frame, xs, ys, "epoch");
  for (const one of shown) {
    const points = one[state.metric].map((value, epoch) => [x(epoch + 1), y(value)]);
    curve(svg, points, looks[one.condition], { width: 2 });
    const [cx, cy] = points.at(-1);
    mark(svg, looks[one.condition], cx, cy, 5, { title: `${one.name}: ${one[state.metric].at(-1)}` });
  }
  return `${study.metrics[state.metric]} over epochs of ${shown.length} trainings`;
});

function showTable(rows) {
  const { columns } = study.runs;
  const kept = columns.map((_, at) => at).filter((at) => rows.some((row) => study.runs.rows[row][at] !== null));
  const text = (value) => (typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(4))) : (value ?? ""));
  const wordy = (at) => (rows.some((row) => typeof study.runs.rows[row][at] === "string") ? { class: "words" } : {});
  const head = make("tr", {}, ...kept.map((at) => make("th", { scope: "col", ...wordy(at) }, columns[at])));
  const body = rows.map((row) => make("tr", {}, ...kept.map((at) => make("td", wordy(at), text(study.runs.rows[row][at])))));
  byId("runs").replaceChildren(make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
}

function showRuns() {
  const rows = found();
  byId("found").textContent = rows.length === 1 ? "1 run" : `${rows.length} runs`;
  showTable(rows);
  const shown = shownCurves();
  byId("curves-head").textContent = shown.length
    ? `How they trained: ${study.metrics[state.metric]} on validation images`
    : "None of these runs has such a curve";
  const chips = shown.map((one) => make("span", {}, sign(looks[one.condition]), one.name));
  byId("curves-legend").replaceChildren(make("span", { class: "chips" }, ...chips));
  curves.redraw();
}

// --- all together -------------------------------------------------------------------------------------------

choice("alpha", study.alphas, (alpha) => set({ alpha }));
choice("seeds", study.seeds.map((seeds, at) => [seeds, at || study.seeds.length === 1 ? seeds : `all (${seeds})`]), (seeds) => set({ seeds }));
choice("attack", study.attacks, (attack) => set({ attack }));
choice("notebook", allowed.notebook, (notebook) => set({ notebook }));
choice("metric", Object.entries(study.metrics), (metric) => set({ metric }));
byId("words").value = state.words;
byId("words").oninput = ({ target }) => set({ words: target.value });
const setLevel = slider("level", levels.map((level) => `${level}/255`), (place) => set({ e: String(levels[place]) }));
for (const form of document.forms) form.onsubmit = (event) => event.preventDefault();
let filter;

function show() {
  for (const id of ["alpha", "seeds", "attack", "notebook", "metric"]) byId(id).value = state[id];
  setLevel(levels.indexOf(Number(state.e)));
  byId("budget").textContent = `ε = ${state.e}/255`;
  byId("attacked-head").textContent = `Attacked: ${state.attack}, ε = ${state.e}/255`;
  const answer = answerOf(state.seeds);
  const said = answer.missing ? [answer.missing] : [answer.words[state.e], answer.said["0"], answer.said[state.e]];
  byId("said").textContent = said.filter(Boolean).join(" ");
  clean.redraw();
  attacked.redraw();
  const now = JSON.stringify([state.notebook, state.metric, state.words]);
  if (now !== filter) showRuns(); // not at every step of ε
  filter = now;
}
show();
