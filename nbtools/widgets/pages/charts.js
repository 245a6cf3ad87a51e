// Charts in SVG, in the look of all figures: a condition has its colour, shape and dash everywhere.

const place = (d0, d1, r0, r1) => (value) => r0 + ((value - d0) / (d1 - d0 || 1)) * (r1 - r0);

function draw(tag, attributes = {}, ...children) {
  return dress(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

// A chart as wide as its host; `paint(svg, width)` draws it anew when the width changes or when it is told to.
function chart(id, height, paint) {
  const host = byId(id);
  const svg = draw("svg", { role: "img" });
  host.replaceChildren(svg);
  let width = 0; // kept, since to ask for it would lay out the whole page at every step of a drag
  const redraw = () => {
    if (!width) return;
    const tall = typeof height === "function" ? height(width) : height;
    for (const [name, value] of [["viewBox", `0 0 ${width} ${tall}`], ["height", tall]]) svg.setAttribute(name, value);
    svg.replaceChildren();
    svg.setAttribute("aria-label", paint(svg, width, tall));
  };
  new ResizeObserver(([{ contentRect }]) => {
    width = contentRect.width && Math.max(contentRect.width, 200);
    redraw();
  }).observe(host);
  return { svg, redraw };
}

// Axes: `xs` and `ys` are [[place in pixels, text]].
function axes(svg, { left, top, right, bottom }, xs, ys, xTitle = "", turned = false) {
  for (const [y, text] of ys) {
    svg.append(draw("line", { class: "rule", x1: left, x2: right, y1: y, y2: y }));
    svg.append(draw("text", { class: "soft", x: left - 6, y: y + 4, "text-anchor": "end" }, text));
  }
  svg.append(draw("line", { class: "axis", x1: left, x2: right, y1: bottom, y2: bottom }));
  for (const [x, text] of xs) {
    const turn = turned ? { transform: `rotate(-50 ${x} ${bottom + 12})`, "text-anchor": "end" } : { "text-anchor": "middle" };
    const lines = turned ? [text] : text.split("-").map((part, i, all) => part + (i < all.length - 1 ? "-" : ""));
    const spans = lines.map((line, i) => draw("tspan", { x, dy: i ? "1.15em" : 0 }, line));
    svg.append(draw("text", { x, y: bottom + (turned ? 14 : 17), ...turn }, ...spans));
  }
  if (xTitle) {
    const at = { x: (left + right) / 2, y: bottom + 34, "text-anchor": "middle", class: "soft" };
    svg.append(draw("text", at, xTitle));
  }
}

const DASHES = { solid: "", dot: "1.5 3.5", dash: "7 4", dashdot: "7 3 1.5 3", longdash: "11 4", longdashdot: "11 3 1.5 3" };

function curve(svg, points, look, { width = 2.5, dash = look.dash } = {}) {
  const line = points.map((point) => point.map((value) => value.toFixed(1)).join(",")).join(" ");
  const dashes = DASHES[dash] ?? dash.replaceAll("px", "");
  svg.append(draw("polyline", { class: "halo", points: line, "stroke-width": width + 2, "stroke-dasharray": dashes }));
  const own = { class: "curve", points: line, stroke: look.color, "stroke-width": width, "stroke-dasharray": dashes };
  svg.append(draw("polyline", own));
}

const around = (n, turn, radii) =>
  Array.from({ length: n }, (_, i) => {
    const angle = ((turn + (360 * i) / n) * Math.PI) / 180;
    const radius = radii[i % radii.length];
    return [radius * Math.cos(angle), radius * Math.sin(angle)];
  });
const PLUS = [[-0.35, -1], [0.35, -1], [0.35, -0.35], [1, -0.35], [1, 0.35], [0.35, 0.35], [0.35, 1], [-0.35, 1], [-0.35, 0.35]];
const CROSS = [...PLUS, [-1, 0.35], [-1, -0.35], [-0.35, -0.35]];
const turned45 = ([x, y]) => [(x - y) * 0.707, (x + y) * 0.707];
// As plotly calls them, within a circle of radius 1.
const SHAPES = {
  circle: around(24, 0, [0.92]),
  square: around(4, 45, [1.15]),
  diamond: around(4, 0, [1.15]),
  "diamond-wide": [[-1.25, 0], [0, -0.75], [1.25, 0], [0, 0.75]],
  "diamond-tall": [[-0.75, 0], [0, -1.25], [0.75, 0], [0, 1.25]],
  "triangle-up": around(3, -90, [1.15]),
  "triangle-down": around(3, 90, [1.15]),
  "triangle-left": around(3, 180, [1.15]),
  "triangle-right": around(3, 0, [1.15]),
  "triangle-ne": [[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9]],
  "triangle-se": [[0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]],
  "triangle-sw": [[0.9, 0.9], [-0.9, 0.9], [-0.9, -0.9]],
  "triangle-nw": [[-0.9, 0.9], [-0.9, -0.9], [0.9, -0.9]],
  pentagon: around(5, -90, [1.05]),
  hexagon: around(6, 0, [1.05]),
  octagon: around(8, 22.5, [1.05]),
  star: around(10, -90, [1.25, 0.52]),
  hexagram: around(12, -90, [1.2, 0.68]),
  "star-square": around(8, 45, [1.25, 0.6]),
  "star-diamond": around(8, 0, [1.25, 0.6]),
  "star-triangle-down": around(6, 90, [1.25, 0.5]),
  asterisk: around(16, -90, [1.15, 0.3]),
  cross: CROSS,
  x: CROSS.map(turned45),
  hourglass: [[-0.9, -0.95], [0.9, -0.95], [-0.9, 0.95], [0.9, 0.95]],
  bowtie: [[-0.95, -0.9], [0.95, 0.9], [0.95, -0.9], [-0.95, 0.9]],
};

function mark(svg, look, x, y, size, { open = false, title = "" } = {}) {
  const words = look.symbol.split("-");
  const [hollow, dotted] = ["open", "dot"].map((word) => words.includes(word));
  const shape = SHAPES[words.filter((word) => word !== "open" && word !== "dot").join("-")];
  if (!shape) throw new Error(`there is no shape ${look.symbol}`);
  const points = shape.map(([dx, dy]) => `${(x + size * dx).toFixed(1)},${(y + size * dy).toFixed(1)}`).join(" ");
  const empty = open || hollow;
  if (empty) svg.append(draw("polygon", { class: "halo", points, "stroke-width": 3.6 }));
  const ink = empty ? { class: "mark open", style: `stroke: ${look.color}` } : { class: "mark", fill: look.color };
  const made = draw("polygon", { points, ...ink });
  if (title) made.append(draw("title", {}, title));
  svg.append(made);
  if (dotted) svg.append(draw("circle", { cx: x, cy: y, r: size / 4, fill: empty ? look.color : "#fff" }));
}

// A condition's mark, to stand in a line of text.
function sign(look, side = 16) {
  const svg = draw("svg", { width: side, height: side, viewBox: "-8 -8 16 16", "aria-hidden": "true" });
  mark(svg, look, 0, 0, 5.5);
  return svg;
}

// Accuracy by condition: `at` and each of `seeds` are {condition: {accuracy, ci_low, ci_high}}.
function hierarchy(svg, width, height, { places, looks }, at, seeds, [low, high], names = true) {
  const shown = Object.keys(places).filter((name) => at[name]);
  const ends = Object.values(places);
  const turned = (width - 54) / (ends.length + 1) < 62;
  const frame = { left: names ? 46 : 8, top: 10, right: width - 8, bottom: height - (names ? (turned ? 66 : 42) : 8) };
  const x = place(Math.min(...ends) - 0.6, Math.max(...ends) + 0.6, frame.left, frame.right);
  const y = place(low, high, frame.bottom, frame.top);
  const step = [0.01, 0.02, 0.05, 0.1, 0.2, 0.25].find((size) => (high - low) / size <= 6) ?? 0.5;
  const ticks = [];
  for (let value = Math.ceil(low / step - 1e-9) * step; value <= high + 1e-9; value += step) {
    ticks.push([y(value), names ? percent(value) : ""]);
  }
  axes(svg, frame, names ? shown.map((name) => [x(places[name]), name]) : [], ticks, "", turned);
  for (const name of shown) {
    const [cx, { accuracy, ci_low: from, ci_high: to }] = [x(places[name]), at[name]];
    if (from !== null) svg.append(draw("line", { class: "axis", x1: cx, x2: cx, y1: y(from), y2: y(to), "stroke-width": 2 }));
    mark(svg, looks[name], cx, y(accuracy), names ? 7 : 6, { title: `${name}: ${percent(accuracy, 1)}` });
    for (const seed of seeds.filter((each) => each[name])) {
      const dot = { cx: cx + 14, cy: y(seed[name].accuracy), r: 2.8, fill: looks[name].color, class: "mark" };
      svg.append(draw("circle", dot));
    }
  }
  return shown.map((name) => `${name} ${percent(at[name].accuracy, 1)}`).join(", ");
}

// An RDM as pixels: ranks (n_pairs) of the pairs of n images, from 0, alike, to 1.
function rdm(canvas, n, ranks, colors) {
  canvas.width = canvas.height = n;
  const context = canvas.getContext("2d");
  const image = context.createImageData(n, n);
  const paint = (at, [r, g, b]) => image.data.set([r, g, b, 255], 4 * at);
  for (let i = 0, pair = 0; i < n; i++) {
    paint(i * n + i, [128, 128, 128]);
    for (let j = i + 1; j < n; j++, pair++) {
      const shade = 3 * Math.round(255 * ranks[pair]);
      const color = colors.subarray(shade, shade + 3);
      paint(i * n + j, color);
      paint(j * n + i, color);
    }
  }
  context.putImageData(image, 0, 0);
}
