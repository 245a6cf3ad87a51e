// The geometry page: two spaces, their RDMs and maps of images, and one pair of images in both.

const data = await box("geometry").catch(complain);
const { spaces, ids, notes, looks, stress } = data;
const N = ids.length;
const PAIRS = (N * (N - 1)) / 2;
const places = ids.map((_, at) => String(at));
const start = Object.fromEntries(Object.entries(data.first).map(([name, value]) => [name, String(value)]));
const { state, set } = stateOf(start, { left: spaces, right: spaces, one: places, two: places }, () => show());

const spaceAt = (side) => spaces.indexOf(state[side]);
const pairAt = (i, j) => {
  const [a, b] = i < j ? [i, j] : [j, i];
  return a * N - (a * (a + 1)) / 2 + (b - a - 1);
};
const of = (table, space) => data[table].subarray(space * PAIRS, (space + 1) * PAIRS);
const lookOf = (space) => looks[space.slice(space.indexOf(" ") + 1)];

// --- a space: its RDM above, its map below ------------------------------------------------------------------

function space(side) {
  const id = `space-${side}`;
  const head = make("h2", { class: "name" });
  const canvas = make("canvas", { role: "img" });
  const cells = [0, 1].map(() => make("i"));
  const grid = make("div", { class: "rdm" }, canvas, ...cells);
  const ramp = make("canvas", { width: 256, height: 1, "aria-hidden": "true" });
  const scale = make("div", { class: "scale" }, "alike", ramp, "unlike");
  const mapHead = make("p", { class: "legend" });
  byId(id).replaceChildren(head, grid, scale, mapHead, make("div", { class: "chart", id: `${id}-map` }));
  const context = ramp.getContext("2d");
  const shades = context.createImageData(256, 1);
  for (let at = 0; at < 256; at++) shades.data.set([...data.colors.subarray(3 * at, 3 * at + 3), 255], 4 * at);
  context.putImageData(shades, 0, 0);

  const point = (event) => {
    const { left, top, width, height } = canvas.getBoundingClientRect();
    const cell = (from, size, at) => Math.min(N - 1, Math.max(0, Math.floor((N * (at - from)) / size)));
    const [one, two] = [cell(top, height, event.clientY), cell(left, width, event.clientX)].map(String);
    if (one !== state.one || two !== state.two) set({ one, two });
  };
  grid.onpointerdown = point;
  grid.onpointermove = (event) => event.pointerType === "mouse" && point(event);
  const map = chart(`${id}-map`, (width) => Math.min(width, 520), (svg, width, height) => drawMap(svg, width, height, side));
  let drawn;
  return () => {
    const at = spaceAt(side);
    if (drawn !== at) rdm(canvas, N, of("ranks", at), data.colors);
    drawn = at;
    head.replaceChildren(sign(lookOf(spaces[at])), spaces[at]);
    canvas.setAttribute("aria-label", `RDM of ${N} images in ${spaces[at]}`);
    mapHead.textContent = `map of the images; stress ${stress[at].toFixed(2)}, 0 being perfect`;
    const pair = [state.one, state.two].map(Number);
    cells.forEach((cell, turn) => {
      const [row, column] = turn ? pair : [...pair].reverse();
      const size = 100 / N;
      cell.style.cssText = `top: ${row * size}%; left: ${column * size}%; width: ${size}%; height: ${size}%`;
    });
    map.redraw();
  };
}

function drawMap(svg, width, height, side) {
  const at = spaceAt(side);
  const xy = ids.map((_, image) => data.places.subarray(2 * (at * N + image), 2 * (at * N + image) + 2));
  const bounds = [0, 1].map((axis) => [Math.min(...xy.map((p) => p[axis])), Math.max(...xy.map((p) => p[axis]))]);
  const side_ = Math.max(18, height / 14);
  const room = Math.min(width, height) - side_ - 4;
  const span = Math.max(...bounds.map(([low, high]) => high - low)) || 1;
  const [x, y] = bounds.map(([low, high], axis) => {
    const middle = [width, height][axis] / 2;
    return (value) => middle + ((axis ? -1 : 1) * (value - (low + high) / 2) * room) / span;
  });
  const chosen = [state.one, state.two].map(Number);
  const line = { x1: x(xy[chosen[0]][0]), y1: y(xy[chosen[0]][1]), x2: x(xy[chosen[1]][0]), y2: y(xy[chosen[1]][1]) };
  const order = ids.map((_, image) => image).sort((a, b) => chosen.includes(a) - chosen.includes(b));
  for (const image of order) {
    if (image === order[N - 2]) svg.append(draw("line", { class: "axis", "stroke-width": 2, ...line }));
    const size = chosen.includes(image) ? side_ * 1.35 : side_;
    const [left, top] = [x(xy[image][0]) - size / 2, y(xy[image][1]) - size / 2];
    svg.append(picture(image, left, top, size));
    if (!chosen.includes(image)) continue;
    const ring = { x: left, y: top, width: size, height: size, fill: "none", "stroke-width": 2.5 };
    svg.append(draw("rect", { ...ring, stroke: "var(--accent)" }));
  }
  return `map of ${N} images in ${spaces[at]}`;
}

function picture(image, x, y, size) {
  const { columns, rows } = data.sprite;
  const view = `${image % columns} ${Math.floor(image / columns)} 1 1`;
  const sheet = { href: "data/geometry.png", width: columns, height: rows, preserveAspectRatio: "none" };
  const inner = draw("image", { ...sheet, style: "image-rendering: pixelated" }, draw("title", {}, notes[image]));
  const made = draw("svg", { x, y, width: size, height: size, viewBox: view });
  made.append(inner);
  made.style.cursor = "pointer";
  made.style.overflow = "hidden";
  made.onclick = () => set({ one: String(image), two: state.one === String(image) ? state.two : state.one });
  return made;
}

// --- the pair, all spaces, manifolds ------------------------------------------------------------------------

function showPair() {
  const pair = [state.one, state.two].map(Number);
  const figures = pair.map((image) =>
    make("figure", {}, tile("data/geometry.png", data.sprite, image, notes[image]), make("figcaption", {}, notes[image])),
  );
  byId("pair").replaceChildren(...figures);
  const [a, b] = pair;
  if (a === b) return (byId("pair-said").textContent = `Image ${ids[a]} and itself: choose two different images.`);
  const said = [...new Set([state.left, state.right])].map((name) => {
    const [at, pairs] = [spaces.indexOf(name), pairAt(a, b)];
    return `${of("dissimilarities", at)[pairs].toFixed(2)} in ${name}, more than ${percent(of("ranks", at)[pairs])} of the pairs`;
  });
  byId("pair-said").textContent = `Dissimilarity (1 − r) of images ${ids[a]} and ${ids[b]}: ${said.join("; ")}.`;
}

const agreementOf = (row, column) => data.agreement[row * spaces.length + column];
const agreement = chart("agreement", (width) => Math.min(width - 110, 340) + 4, (svg, width) => {
  const n = spaces.length;
  const cell = Math.min(width - 110, 340) / n;
  spaces.forEach((name, row) => {
    const y = row * cell;
    svg.append(draw("text", { x: 104, y: y + cell / 2 + 4, "text-anchor": "end", "font-size": Math.min(12, cell) }, name));
    spaces.forEach((_, column) => {
      const rho = agreementOf(row, column);
      const shade = 3 * Math.round(255 * Math.max(0, rho));
      const fill = `rgb(${data.colors.subarray(shade, shade + 3).join(",")})`;
      const on = row === spaceAt("left") && column === spaceAt("right");
      const box = { x: 110 + column * cell, y, width: cell, height: cell, fill, style: "cursor: pointer" };
      const look = on ? { stroke: "var(--accent)", "stroke-width": 3 } : { stroke: "var(--paper)" };
      const square = draw("rect", { ...box, ...look }, draw("title", {}, `${name} and ${spaces[column]}: ρ = ${rho.toFixed(2)}`));
      square.onclick = () => set({ left: spaces[row], right: spaces[column] });
      svg.append(square);
      if (cell < 26 || row === column) return;
      const words = { x: 110 + (column + 0.5) * cell, y: y + cell / 2 + 4, "text-anchor": "middle", "pointer-events": "none" };
      const ink = rho > 0.5 ? "#000" : "#fff";
      svg.append(draw("text", { ...words, "font-size": 11, style: `fill: ${ink}` }, rho.toFixed(2)));
    });
  });
  return `agreement of all spaces; ${state.left} and ${state.right}: ρ = ${agreementOf(spaceAt("left"), spaceAt("right")).toFixed(2)}`;
});

function showManifolds() {
  const shown = [...new Set([state.left, state.right])].filter((name) => data.manifolds[name].label.length);
  if (!shown.length) return byId("manifolds").replaceChildren("The images of these spaces have no classes.");
  const labels = data.manifolds[shown[0]].label;
  const value = (name, measure, row) => data.manifolds[name][measure][row].toFixed(2);
  const head = shown.flatMap((name) => ["radius", "dimension"].map((measure) => make("th", {}, ...name.split(" ").flatMap((word) => [word, make("br")]), measure)));
  const rows = labels.map((label, row) =>
    make("tr", {}, make("td", {}, label), ...shown.flatMap((name) => ["radius", "dimension"].map((m) => make("td", {}, value(name, m, row))))),
  );
  const table = make("table", {}, make("thead", {}, make("tr", {}, make("th", {}, "class"), ...head)), make("tbody", {}, ...rows));
  byId("manifolds").replaceChildren(make("div", { class: "table" }, table));
}

// --- all together -------------------------------------------------------------------------------------------

for (const side of ["left", "right"]) choice(side, spaces, (value) => set({ [side]: value }));
const sliders = ["one", "two"].map((name) => slider(name, notes, (at) => set({ [name]: String(at) })));
const sides = ["left", "right"].map(space);

function show() {
  for (const side of ["left", "right"]) byId(side).value = state[side];
  [state.one, state.two].forEach((at, which) => sliders[which](Number(at)));
  sides.forEach((update) => update());
  showPair();
  agreement.redraw();
  showManifolds();
  const rho = agreementOf(spaceAt("left"), spaceAt("right"));
  byId("said").textContent =
    `${state.left} and ${state.right} agree about ${N} images with Spearman ρ = ${rho.toFixed(2)}. ` +
    "Colours are ranks among the pairs, so that spaces can be compared; on the maps distance follows dissimilarity as well as a plane allows. Measured responses are noisy, which makes everything about equally far from everything.";
}
show();
