// The decision path: curves over ε, and ε itself, dragged on them, moved by keys, or played.
const MARGIN = { left: 44, right: 20, top: 8, bottom: 36 };
const PLAY = 550; // milliseconds a step of ε

// Every ε has its place on a logarithmic axis, the clean image one step before the smallest.
function places(levels) {
  const first = levels[1] ?? 1;
  const logs = levels.map((level) => Math.log2(level || first / 2));
  const span = logs.at(-1) - logs[0] || 1;
  return logs.map((at) => (at - logs[0]) / span);
}

function path({ model, choose, index }) {
  const { levels } = model.get("menu");
  const where = places(levels);
  const value = make("output", { className: "value" });
  const play = make("button", { type: "button", className: "play" });
  const said = make("div", { className: "legend" });
  const slider = { role: "slider", tabindex: 0, "aria-label": "ε", "aria-valuemin": 0 };
  const chart = drawn("svg", { ...slider, "aria-valuemax": levels.length - 1 });
  const still = drawn("g");
  const grip = drawn("g", { class: "grip" }, drawn("line"), drawn("circle", { r: 10 }));
  chart.append(still, grip);
  let curves = [];
  let axis = "";
  let of = "";
  let budgets = [];
  let timer;

  const box = () => {
    const { width, height } = chart.getBoundingClientRect();
    return { width: width || 800, height: height || 160 };
  };
  const x = (at) => MARGIN.left + where[at] * (box().width - MARGIN.left - MARGIN.right);
  const y = (share) => MARGIN.top + (1 - share) * (box().height - MARGIN.top - MARGIN.bottom);

  const go = (at) => {
    const to = Math.max(0, Math.min(levels.length - 1, at));
    if (levels[to] !== model.get("choice").level) choose({ level: levels[to] });
  };
  const nearest = ({ clientX }) => {
    const { left } = chart.getBoundingClientRect();
    const gaps = levels.map((_, at) => Math.abs(x(at) - (clientX - left)));
    return gaps.indexOf(Math.min(...gaps));
  };
  const stop = () => {
    clearInterval(timer);
    timer = undefined;
    play.textContent = "▶ play";
    play.title = "let ε grow by itself";
  };
  const step = () => {
    go(index() + 1);
    if (index() === levels.length - 1) stop();
  };
  play.onclick = () => {
    if (timer) return stop();
    if (index() === levels.length - 1) go(0);
    timer = setInterval(step, PLAY);
    play.textContent = "❚❚ pause";
  };
  stop();

  chart.onpointerdown = (event) => {
    if (event.button) return;
    stop();
    chart.setPointerCapture(event.pointerId);
    chart.focus({ preventScroll: true });
    go(nearest(event));
    event.preventDefault();
  };
  chart.onpointermove = (event) => {
    if (chart.hasPointerCapture(event.pointerId)) go(nearest(event));
  };
  chart.onkeydown = (event) => {
    const ends = { Home: 0, End: levels.length - 1 };
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 3, PageDown: -3 };
    const to = ends[event.key] ?? index() + (steps[event.key] ?? NaN);
    if (Number.isNaN(to)) return;
    event.preventDefault();
    event.stopPropagation();
    stop();
    go(to);
  };

  const mark = () => {
    const at = index();
    const [line, knob] = grip.children;
    for (const end of ["x1", "x2"]) line.setAttribute(end, x(at));
    line.setAttribute("y1", y(1) - 4);
    line.setAttribute("y2", y(0));
    knob.setAttribute("cx", x(at));
    knob.setAttribute("cy", y(0));
    chart.setAttribute("aria-valuenow", at);
    chart.setAttribute("aria-valuetext", budgets[at] ?? "");
    value.textContent = at ? `ε = ${budgets[at]}` : "clean";
  };
  const draw = () => {
    const { width, height } = box();
    chart.setAttribute("viewBox", `0 0 ${width} ${height}`);
    still.replaceChildren(...grid(levels, x, y), title(axis, x, height), ...curves.flatMap((c) => curve(c, x, y)));
    said.replaceChildren(make("span", { className: "of", textContent: of }), ...curves.map(entry));
    mark();
  };
  const show = (scene) => {
    ({ axis, budgets } = scene);
    const many = scene.tab === "class";
    of = many ? "share that still stands" : "probability";
    curves = many ? standing(scene) : decided(scene);
    draw();
  };
  const side = make("div", { className: "side" }, value, play);
  const el = make("div", { className: "path" }, side, make("div", { className: "plot" }, said, chart));
  const size = new ResizeObserver(draw);
  size.observe(chart);
  return { el, show, mark, stop, end: () => (stop(), size.disconnect()) };
}

// Solid: the probability of the image's own class; dotted: of the class it turns to; a ring where the decision flips.
function decided({ panels }) {
  return panels.flatMap(({ network, ink, label, rival, curve: own, rivals, fooled, turns }, slot) => {
    const flip = fooled.indexOf(true);
    const ring = flip < 0 ? undefined : { at: flip, share: rivals[flip], text: `${network} → ${turns[flip]}`, slot };
    return [
      { ink, slot, values: own, text: `${network}: ${label}` },
      { ink, slot, values: rivals, dotted: true, text: `${network}: ${rival}`, ring },
    ];
  });
}

function standing({ panels }) {
  return panels.map(({ network, ink, counts, stands }, slot) => {
    const n = stands[0].length;
    return { ink, slot, values: counts.map((count) => count / n), text: network };
  });
}

function grid(levels, x, y) {
  const lines = [0, 0.25, 0.5, 0.75, 1].map((share) =>
    drawn("line", { class: share ? "grid" : "axis", x1: x(0), x2: x(levels.length - 1), y1: y(share), y2: y(share) }),
  );
  const shares = [0, 0.5, 1].map((share) =>
    drawn("text", { x: x(0) - 12, y: y(share) + 4, "text-anchor": "end" }, `${100 * share}%`),
  );
  const ticks = levels.flatMap((level, at) => [
    drawn("line", { class: "axis", x1: x(at), x2: x(at), y1: y(0), y2: y(0) + 5 }),
    drawn("text", { x: x(at), y: y(0) + 22, "text-anchor": "middle" }, level ? `${level}` : "clean"),
  ]);
  return [...lines, ...shares, ...ticks];
}

function title(text, x, height) {
  return drawn("text", { class: "title", x: x(0), y: height - 2 }, text);
}

function curve({ ink, slot, values, dotted, ring }, x, y) {
  const points = values.map((share, at) => `${x(at)},${y(share)}`).join(" ");
  const look = { style: `--ink:${ink}`, class: `curve slot${slot}${dotted ? " dotted" : ""}` };
  const parts = [drawn("polyline", { ...look, points })];
  if (!dotted) {
    const place = (share, at) => ({ ...look, class: "mark", d: shape(slot, x(at), y(share)) });
    parts.push(...values.map((share, at) => drawn("path", place(share, at))));
  }
  if (!ring) return parts;
  const [cx, cy] = [x(ring.at), y(ring.share)];
  const early = ring.at < values.length * 0.6;
  const [dx, anchor] = early ? [14, "start"] : [-14, "end"];
  const words = { x: cx + dx, y: cy + (ring.slot ? 18 : -10), "text-anchor": anchor, class: "flip", style: look.style };
  return [...parts, drawn("circle", { ...look, class: "ring", cx, cy, r: 8 }), drawn("text", words, ring.text)];
}

// The first network has disks, the second squares: told apart without colour.
function shape(slot, x, y) {
  if (slot) return `M${x - 4},${y - 4}h8v8h-8z`;
  return `M${x - 4.5},${y}a4.5,4.5 0 1,0 9,0a4.5,4.5 0 1,0 -9,0`;
}

function entry({ ink, text, dotted, slot }) {
  const line = drawn("line", { x1: 0, x2: 26, y1: 6, y2: 6, class: `curve slot${slot}${dotted ? " dotted" : ""}` });
  const sample = drawn("svg", { width: 26, height: 12, style: `--ink:${ink}`, "aria-hidden": "true" }, line);
  if (!dotted) sample.append(drawn("path", { class: "mark", d: shape(slot, 13, 6) }));
  return make("span", {}, sample, text);
}
