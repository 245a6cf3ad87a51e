// A question, a place for its answer (a field, words to choose from, or a curve to sketch), and Commit.
const WIDE = 420, HIGH = 190, LEFT = 44, BOTTOM = 34, TOP = 10;

function field() {
  const input = make("input", { type: "text", "aria-label": "your answer", size: 12 });
  return { node: input, answer: () => input.value.trim() || undefined, focus: input };
}

function words(options) {
  const select = make("select", { "aria-label": "your answer" }, make("option", { value: "" }, "choose …"));
  select.append(...options.map((word) => make("option", { value: word }, word)));
  return { node: select, answer: () => select.value || undefined };
}

// Each point is a slider: dragged up and down, or moved by arrow keys. A stroke across the chart moves all it passes.
function curve(at, [low, high], before) {
  const values = before ?? at.map(() => (low + high) / 2);
  const x = (i) => LEFT + ((i + 0.5) * (WIDE - LEFT)) / at.length;
  const y = (value) => HIGH - BOTTOM - ((value - low) / (high - low)) * (HIGH - BOTTOM - TOP);
  const svg = drawn("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, class: "nbtools-sketch" });
  for (const share of [0, 0.5, 1]) {
    const value = low + share * (high - low);
    svg.append(drawn("line", { x1: LEFT, x2: WIDE, y1: y(value), y2: y(value), class: "grid" }));
    svg.append(drawn("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, String(Number(value.toFixed(3)))));
  }
  const every = Math.ceil(at.length / 8);
  const line = drawn("polyline", { class: "line" });
  svg.append(line);
  const points = at.map((name, i) => {
    if (i % every === 0) svg.append(drawn("text", { x: x(i), y: HIGH - 12, "text-anchor": "middle" }, name));
    const point = drawn("circle", { r: 7, cx: x(i), tabindex: 0, role: "slider", "aria-label": `your guess at ${name}` });
    point.setAttribute("aria-valuemin", low);
    point.setAttribute("aria-valuemax", high);
    point.onkeydown = (event) => {
      const step = { ArrowUp: 1, ArrowRight: 1, ArrowDown: -1, ArrowLeft: -1, PageUp: 5, PageDown: -5 }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      set(i, values[i] + (step * (high - low)) / 50);
    };
    svg.append(point);
    return point;
  });
  const show = () => {
    line.setAttribute("points", values.map((value, i) => `${x(i)},${y(value)}`).join(" "));
    points.forEach((point, i) => {
      point.setAttribute("cy", y(values[i]));
      point.setAttribute("aria-valuenow", values[i].toFixed(3));
    });
  };
  const set = (i, value) => {
    values[i] = Math.min(high, Math.max(low, value));
    show();
  };
  const follow = (event) => {
    if (event.buttons !== 1) return;
    const box = svg.getBoundingClientRect();
    const [px, py] = [((event.clientX - box.left) / box.width) * WIDE, ((event.clientY - box.top) / box.height) * HIGH];
    const i = Math.min(at.length - 1, Math.max(0, Math.floor(((px - LEFT) / (WIDE - LEFT)) * at.length)));
    set(i, low + ((HIGH - BOTTOM - py) / (HIGH - BOTTOM - TOP)) * (high - low));
  };
  svg.onpointerdown = (event) => {
    svg.setPointerCapture(event.pointerId);
    follow(event);
  };
  svg.onpointermove = follow;
  show();
  return { node: svg, answer: () => values };
}

function render({ model, el }) {
  el.classList.add("nbtools-exercise");
  const [at, options] = [model.get("at"), model.get("options")];
  const place = at.length ? curve(at, model.get("bounds"), model.get("value")) : options.length ? words(options) : field();
  const button = make("button", { type: "button" }, "Commit");
  const said = make("p", { role: "status", "aria-live": "polite" });
  const commit = () => {
    const answer = place.answer();
    said.dataset.state = "sent";
    said.textContent = answer === undefined ? "Answer first." : "Sent; it is heard when the cells before it have run.";
    if (answer !== undefined) model.send({ answer });
  };
  button.onclick = commit;
  place.focus?.addEventListener("keydown", (event) => {
    event.stopPropagation(); // JupyterLab's own keys
    if (event.key === "Enter") commit();
  });
  const tell = () => {
    said.textContent = model.get("said");
    said.dataset.state = model.get("state");
  };
  model.on("msg:custom", tell); // also where it is told the same as before
  el.append(make("p", { class: "question" }, model.get("question")), make("div", {}, place.node, button), said);
  tell();
}
export default { render };
