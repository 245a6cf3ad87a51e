// The attack page: an image, two networks, an attack, and ε; all of it was computed, nothing is in between.

const attack = await box("attack").catch(complain);
const { images, classes, levels, networks, looks, attacks, amplify } = attack;
const [, HEIGHT, WIDTH] = attack.clean.shape;
const VALUES = HEIGHT * WIDTH * 3;
const NONE = "—";

const allowed = {
  image: images.map(({ id }) => id),
  a: networks,
  b: [NONE, ...networks],
  attack: Object.keys(attacks),
  e: levels.map(String),
};
const last = networks.at(-1);
const middle = String(levels[Math.ceil(levels.length / 2)]);
const first = { image: images[0].id, a: networks[0], b: last, attack: allowed.attack[0], e: middle };
const { state, set } = stateOf(first, allowed, () => show().catch(complain));

// --- what was computed --------------------------------------------------------------------------------------

const chosen = () => [...new Set([state.a, state.b])].filter((name) => name !== NONE);
const boxOf = (name) => box(`attack-${networks.indexOf(name)}-${state.attack}`);
const budget = (level) => (level ? `${level}/255${attacks[state.attack].rms ? " RMS" : ""}` : "clean");

// One network's answers: probability of a class, and the class, of an image at a level (their places).
function answersOf(name, data) {
  const n = classes.length;
  const probability = (image, level, label) => data.probabilities[(image * levels.length + level) * n + label];
  const decision = (image, level) => {
    let best = 0;
    for (let label = 1; label < n; label++) {
      if (probability(image, level, label) > probability(image, level, best)) best = label;
    }
    return best;
  };
  const decided = images.map((_, image) => levels.map((_, level) => decision(image, level)));
  const stands = (image, level) => decided[image][level] === images[image].label;
  const share = levels.map((_, level) => images.filter((_, image) => stands(image, level)).length / images.length);
  const flip = (image) => levels.findIndex((_, level) => !stands(image, level));
  return { name, data, look: looks[name], probability, decided, stands, share, flip };
}

const known = new Map();
async function answers(name) {
  const key = `${name} ${state.attack}`;
  if (!known.has(key)) known.set(key, answersOf(name, await boxOf(name)));
  return known.get(key);
}

// --- sentences ----------------------------------------------------------------------------------------------

function verdict({ data, probability, decided, stands }, image, level) {
  const [says, own] = [classes[decided[image][level]], classes[images[image].label]];
  const sure = percent(probability(image, level, decided[image][level]));
  if (level && !stands(image, 0)) return `${says} (${sure}): wrong from the start, so not attacked`;
  if (!stands(image, level)) return level ? `${own} → ${says} (${sure})` : `${says} (${sure}), but it is ${own}`;
  const unsure = data.converged[image * levels.length + level] ? "" : ", but the attack did not converge";
  return level ? `still ${says} (${sure})${unsure}` : `${says} (${sure})`;
}

function flips({ data, decided, flip }, image) {
  const [at, own] = [flip(image), classes[images[image].label]];
  const unended = levels.some((_, level) => !data.converged[image * levels.length + level]);
  if (at < 0 && unended) return "no answer: the attack did not converge";
  if (at < 0) return `not moved away from ${own} up to ε = ${levels.at(-1)}/255`;
  if (at === 0) return `${classes[decided[image][0]]} without any attack`;
  return `turns to ${classes[decided[image][at]]} at ε = ${levels[at]}/255`;
}

// --- pictures -----------------------------------------------------------------------------------------------

function paint(canvas, value) {
  const context = canvas.getContext("2d");
  const picture = context.createImageData(WIDTH, HEIGHT);
  for (let pixel = 0, at = 0; pixel < WIDTH * HEIGHT; pixel++) {
    for (let channel = 0; channel < 3; channel++, at++) picture.data[4 * pixel + channel] = Math.round(value(at));
    picture.data[4 * pixel + 3] = 255;
  }
  context.putImageData(picture, 0, 0); // Uint8ClampedArray cuts at 0 and 255
}

const cleanOf = (image) => (at) => attack.clean[image * VALUES + at];

// In grey levels; 0 for the clean image.
function changeOf({ data }, image, level) {
  if (!level) return () => 0;
  const n = levels.length - 1;
  const unit = 255 * data.units[image * n + level - 1];
  const start = image * VALUES * n + level - 1;
  return (at) => unit * data.changes[start + at * n];
}

function panel(id) {
  const [after, change] = [0, 1].map(() => make("canvas", { width: WIDTH, height: HEIGHT, role: "img" }));
  const [head, caption, verdictLine, flipLine] = ["h2", "figcaption", "p", "p"].map((tag) => make(tag));
  Object.assign(head, { className: "name" });
  Object.assign(verdictLine, { className: "verdict" });
  Object.assign(flipLine, { className: "flip" });
  const said = make("figcaption", {}, `change × ${amplify}; grey: none`);
  const pictures = make("div", { class: "pictures" }, make("figure", {}, after, caption), make("figure", {}, change, said));
  byId(id).replaceChildren(head, pictures, verdictLine, flipLine, make("div", { class: "chart", id: `${id}-bars` }));
  let now;
  const bars = chart(`${id}-bars`, () => ROW * shownClasses(now ? [now] : []).length + 16, (svg, width) =>
    now ? drawBars(svg, width, now) : "",
  );
  const update = (network, original) => {
    byId(id).hidden = !network;
    if (!network) return;
    now = network;
    const [image, level] = [imageAt(), levelAt()];
    const shown = original ? 0 : level;
    head.replaceChildren(sign(network.look), network.name, make("span", { class: "soft" }, attack.meaning[network.name]));
    const [clean, changed] = [cleanOf(image), changeOf(network, image, shown)];
    paint(after, (at) => clean(at) + changed(at));
    paint(change, (at) => 127.5 + amplify * changed(at));
    const own = classes[images[image].label];
    caption.textContent = shown ? `ε = ${budget(levels[shown])}` : "original";
    after.setAttribute("aria-label", shown ? `${own} as changed against network ${network.name}` : `the original ${own}`);
    change.setAttribute("aria-label", "what was changed, amplified; grey where nothing was");
    verdictLine.textContent = verdict(network, image, level);
    flipLine.textContent = flips(network, image);
    bars.redraw();
  };
  return update;
}

// --- charts -------------------------------------------------------------------------------------------------

const [MOST, ROW] = [12, 16];
// The classes that are ever probable for this image, in their own order, its own among them.
function shownClasses(all) {
  const image = imageAt();
  const most = classes.map((_, label) => {
    if (label === images[image].label) return 2;
    return Math.max(0, ...all.flatMap((one) => levels.map((_, level) => one.probability(image, level, label))));
  });
  const top = classes.map((_, label) => label).sort((one, other) => most[other] - most[one]);
  return top.slice(0, MOST).sort((one, other) => one - other);
}

function drawBars(svg, width, network) {
  const [image, level] = [imageAt(), levelAt()];
  const shown = shownClasses([network]);
  const left = 12 + 7 * Math.max(...shown.map((label) => classes[label].length));
  const x = place(0, 1, left, width - 42);
  shown.forEach((label, row) => {
    const [top, now] = [ROW * row, network.probability(image, level, label)];
    const bold = label === images[image].label ? { "font-weight": 700 } : {};
    svg.append(draw("text", { x: left - 6, y: top + 11.5, "text-anchor": "end", ...bold }, classes[label]));
    const clean = x(network.probability(image, 0, label)) - left;
    svg.append(draw("rect", { class: "ghost", x: left, y: top, width: clean, height: ROW - 2 }));
    const own = { class: "bar", x: left, y: top + 3.5, width: x(now) - left, height: ROW - 9, fill: network.look.color };
    if (now > 0.002) svg.append(draw("rect", own));
    svg.append(draw("text", { class: "soft", x: width - 36, y: top + 11.5 }, percent(now)));
  });
  const y = ROW * shown.length + 12;
  svg.append(draw("text", { class: "soft", x: left, y }, "probability; grey: of the original"));
  return `probabilities by ${network.name}: ${shown.map((label) => `${classes[label]} ${percent(network.probability(image, level, label))}`).join(", ")}`;
}

// ε on a logarithmic axis, the clean image one step before the smallest.
const log = levels.map((level) => Math.log2(level || levels[1] / 2));
let current = [];

function overLevels(svg, width, height, title) {
  const frame = { left: 44, top: 8, right: width - 10, bottom: height - 36 };
  const x = place(log[0] - 0.2, log.at(-1) + 0.2, frame.left, frame.right);
  const y = place(0, 1, frame.bottom, frame.top);
  const every = width < 560 ? 2 : 1;
  const xs = levels.map((level, at) => [x(log[at]), at % every ? "" : level ? String(level) : "clean"]);
  axes(svg, frame, xs, [0, 0.25, 0.5, 0.75, 1].map((share) => [y(share), percent(share)]), title);
  const now = x(log[levelAt()]);
  const line = draw("line", { class: "now", x1: now, x2: now, y1: frame.top, y2: frame.bottom });
  svg.append(line);
  svg.move = () => ["x1", "x2"].forEach((end) => line.setAttribute(end, x(log[levelAt()]))); // nothing else depends on ε
  return { x: (level) => x(log[level]), at: (value) => x(Math.log2(value || levels[1] / 2)), y };
}

const unit = () => `ε (1/255${attacks[state.attack].rms ? ", root mean square" : ""})`;
const path = chart("path", (width) => Math.max(160, width / 2.6), (svg, width, height) => {
  const { x, y } = overLevels(svg, width, height, unit());
  const image = imageAt();
  for (const network of current) {
    const { look, data, probability, flip } = network;
    const points = (label) => levels.map((_, level) => [x(level), y(probability(image, level, label))]);
    curve(svg, points(data.rivals[image]), look, { width: 1.8, dash: "dot" });
    const own = points(images[image].label);
    curve(svg, own, look, { dash: "solid" });
    for (const [cx, cy] of own) mark(svg, look, cx, cy, 3.6);
    const at = flip(image);
    if (at > 0) {
      const ring = { cx: own[at][0], cy: own[at][1], r: 8, fill: "none", "stroke-width": 2 };
      svg.append(draw("circle", { ...ring, class: "halo", "stroke-width": 4 }), draw("circle", { ...ring, stroke: look.color }));
    }
  }
  return `probability of ${classes[images[image].label]} over ε: ${current.map((each) => `${each.name} ${flips(each, image)}`).join("; ")}`;
});

const counted = (name) => attack.counted[name][state.attack] ?? [];
const standing = chart("standing", (width) => Math.max(150, width / 2.9), (svg, width, height) => {
  const { x, y, at } = overLevels(svg, width, height, unit());
  for (const { name, look, share } of current) {
    curve(svg, share.map((value, level) => [x(level), y(value)]), look, { dash: "solid" });
    for (const [level, right, n] of counted(name)) {
      mark(svg, look, at(level), y(right / n), 6.5, { title: `${name}, ${n} images at ε = ${level}/255: ${percent(right / n, 1)}` });
    }
  }
  return standingSaid();
});

function standingSaid() {
  const shares = current.map(({ name, share }) => `${name} ${percent(share[levelAt()])}`);
  return `share of images that still stand at ${budget(levels[levelAt()])}: ${shares.join(", ")}`;
}

for (const { svg } of [path, standing]) {
  const drag = (event) => {
    if (!event.buttons) return;
    const { left, width } = svg.getBoundingClientRect();
    const x = place(log[0] - 0.2, log.at(-1) + 0.2, 44, width - 10);
    const distance = (at) => Math.abs(x(log[at]) - (event.clientX - left));
    const nearest = levels.map((_, at) => at).reduce((best, at) => (distance(at) < distance(best) ? at : best));
    if (nearest !== levelAt()) set({ e: String(levels[nearest]) });
  };
  svg.onpointerdown = (event) => (svg.setPointerCapture(event.pointerId), drag(event));
  svg.onpointermove = drag;
}

// --- the tray: every image, and what became of it -------------------------------------------------------------

const buttons = images.map(({ id, label }, at) => {
  const fates = make("span", { class: "fates" });
  const face = tile("data/attack.png", attack.sprite, at);
  return make("button", { type: "button", role: "radio", title: `${classes[label]}: ${id}`, onclick: () => set({ image: id }) }, face, fates);
});
byId("tray").replaceChildren(...buttons);
arrows(byId("tray"), (step) => {
  const next = (imageAt() + step + images.length) % images.length;
  set({ image: images[next].id });
  buttons[next].focus();
});

function fate(look, stands) {
  const svg = draw("svg", { viewBox: "-6 -7 12 14", "aria-hidden": "true" });
  if (stands) svg.append(draw("circle", { r: 4.2, fill: look.color, class: "mark" }));
  for (const width of stands ? [] : [4.4, 2.2]) {
    const ink = width > 3 ? { class: "halo" } : { stroke: look.color };
    svg.append(draw("path", { d: "M-3.6,-3.6 3.6,3.6 M3.6,-3.6 -3.6,3.6", "stroke-width": width, ...ink }));
  }
  return svg;
}

function markTray() {
  const level = levelAt();
  buttons.forEach((button, image) => {
    const on = image === imageAt();
    button.setAttribute("aria-checked", on);
    button.tabIndex = on ? 0 : -1;
    const words = current.map(({ name, stands }) => `${name} ${stands(image, level) ? "right" : "wrong"}`);
    if (button.said === words.join()) return; // most images neither fall nor rise at a step of ε
    button.said = words.join();
    button.setAttribute("aria-label", `${classes[images[image].label]} ${image + 1}: ${words.join(", ")}`);
    button.lastChild.replaceChildren(...current.map(({ look, stands }) => fate(look, stands(image, level))));
  });
}

function count() {
  const level = levelAt();
  const here = current.map(({ name, share }) => `${Math.round(share[level] * images.length)} in ${name}`).join(", ");
  const study = current.flatMap(({ name }) => {
    const row = counted(name).find(([at]) => Math.abs(at - levels[level]) < 1e-3);
    return row ? [`${name} ${percent(row[1] / row[2], 1)} of ${row[2]}`] : [];
  });
  const beside = study.length ? ` In the whole study at this ε: ${study.join(", ")}.` : "";
  return `At ${level ? `ε = ${budget(levels[level])}` : "ε = 0, clean,"} of ${images.length} images still stand: ${here}.${beside}`;
}

// --- all together -------------------------------------------------------------------------------------------

const imageAt = () => allowed.image.indexOf(state.image);
const levelAt = () => allowed.e.indexOf(state.e);
const setAt = { level: slider("level", levels.map((level) => (level ? `${level}/255` : "clean")), (at) => set({ e: String(levels[at]) })) };
for (const id of ["a", "b", "attack"]) choice(id, allowed[id], (value) => set({ [id]: value }));
const panels = ["panel-a", "panel-b"].map(panel);
let holding = false;
let drawn = ""; // what the charts over ε show

async function show() {
  for (const id of ["a", "b", "attack"]) byId(id).value = state[id];
  setAt.level(levelAt());
  const asked = JSON.stringify([chosen(), state.attack]);
  const ready = chosen().map((name) => known.get(`${name} ${state.attack}`));
  // Without a wait where all is known: a drag then draws in the same frame.
  const found = ready.every(Boolean) ? ready : await Promise.all(chosen().map(answers));
  if (asked !== JSON.stringify([chosen(), state.attack])) return; // something else was chosen meanwhile
  current = found;
  drawAll();
}

function drawAll() {
  if (!current.length) return; // the first networks are on their way
  byId("budget").textContent = levelAt() ? `ε = ${budget(levels[levelAt()])}` : "clean";
  byId("attack-said").textContent = `${state.attack}: ${attacks[state.attack].said}`;
  panels.forEach((update, at) => update(current[at], holding));
  const asked = JSON.stringify([state.image, chosen(), state.attack]);
  if (asked === drawn) {
    path.svg.move?.();
    standing.svg.move?.();
    standing.svg.setAttribute("aria-label", standingSaid());
  } else {
    path.redraw();
    standing.redraw();
  }
  drawn = asked;
  markTray();
  byId("count").textContent = count();
  const there = counted(current[0].name);
  const large = there.length ? ` · large marks: the study’s ${there[0][2]}` : "";
  byId("standing-legend").textContent = `line: the ${images.length} images below${large}`;
}

const hold = (on) => {
  holding = on;
  byId("original").setAttribute("aria-pressed", on);
  drawAll();
};
byId("original").onclick = () => hold(!holding);
for (const id of ["panel-a", "panel-b"]) {
  const pictures = byId(id).querySelector(".pictures");
  pictures.title = "press and hold to see the original";
  pictures.onpointerdown = () => hold(true);
  pictures.onpointerup = pictures.onpointerleave = () => holding && hold(false);
}

let playing;
byId("play").onclick = () => {
  const stop = () => {
    clearInterval(playing);
    playing = undefined;
    byId("play").textContent = "▶ play";
  };
  if (playing) return stop();
  if (levelAt() === levels.length - 1) set({ e: String(levels[0]) });
  byId("play").textContent = "■ stop";
  playing = setInterval(() => {
    if (levelAt() + 1 >= levels.length - 1) stop();
    if (levelAt() < levels.length - 1) set({ e: String(levels[levelAt() + 1]) });
  }, 600);
};

byId("exactly").replaceChildren(
  ...[
    `Networks of seed ${attack.seed}, guided with α = ${attack.alpha}. ${images.length} test images that no network was trained on, attacked at each of the ${levels.length - 1} ε; between them nothing is made up.`,
    "An image that a network gets wrong is not attacked. Once one has fallen, it keeps the change that fooled the network at every larger ε, so the change stops growing there.",
    `The change is shown as 0.5 + ${amplify} × change, at every ε the same: it grows as you drag, and is at the end of the scale from ${Math.round(127.5 / amplify)}/255 on. It is stored to half a grey level, small changes to a fourteenth of the largest.`,
    "The networks must name one of these classes; they have no way to say “none of these”.",
  ].map((text) => make("p", {}, text)),
);
show().catch(complain);
