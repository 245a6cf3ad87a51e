// One image under attack: the picture of each network, what changed, and how sure it is of every class.
function imageScene(scene, sheets) {
  const { panels, size, classes, amplify, label } = scene;
  const [height, width] = size;
  const first = sheets[0];
  const paint = (canvas, sheet, at, column) => {
    canvas.getContext("2d").drawImage(sheet, column * width, at * height, width, height, 0, 0, width, height);
  };
  const cards = panels.map((panel, slot) => card(panel, slot, size, label));
  const sides = panels.map((panel, slot) => aside(panel, slot, classes, size, amplify));
  const clean = panels.length > 1 ? [] : [original(size, label)];
  for (const { canvas } of clean) paint(canvas, first, 0, 0);
  // while a picture is held down it is the clean one: what changed is seen where it is
  for (const [slot, { canvas }] of cards.entries()) {
    const show = (at) => () => paint(canvas, sheets[slot], at(), 0);
    canvas.onpointerdown = show(() => 0);
    canvas.onpointerup = canvas.onpointerleave = show(() => now);
  }
  let now = 0;
  const draw = (at) => {
    now = at;
    for (const [slot, panel] of panels.entries()) {
      paint(cards[slot].canvas, sheets[slot], at, 0);
      paint(sides[slot].canvas, sheets[slot], at, 1);
      cards[slot].draw(at, scene.budgets[at]);
      sides[slot].draw(panel.probabilities[at]);
    }
  };
  const right = make("div", { className: "asides" }, ...sides.map(({ el }) => el));
  return { parts: [...clean.map(({ el }) => el), ...cards.map(({ el }) => el), right], draw };
}

function original(size, label) {
  const canvas = picture(size, `the original ${label || "image"}`);
  const head = make("h3", {}, make("b", { textContent: "original" }), make("span", { textContent: label }));
  return { el: make("section", { className: "card" }, head, make("div", { className: "frame" }, canvas)), canvas };
}

function card({ network, ink, verdicts, fooled }, slot, size, label) {
  const canvas = picture(size, "");
  canvas.title = "hold down to see the clean image";
  const says = make("span", { className: "verdict" });
  const badge = make("span", { className: "badge", textContent: "fooled" });
  const head = make("h3", {}, make("b", { className: `dot slot${slot}`, textContent: network }), says);
  const el = make("section", { className: "card", ariaLabel: `network ${network}` });
  el.append(head, make("div", { className: "frame" }, canvas, badge));
  el.style.setProperty("--ink", ink);
  const draw = (at, budget) => {
    says.textContent = verdicts[at];
    const fell = fooled[at] && !fooled[0]; // what was wrong from the start was not fooled
    badge.hidden = !fell;
    el.classList.toggle("fooled", fell);
    const what = label || "image";
    canvas.ariaLabel = at ? `${what} as changed against network ${network}, ε = ${budget}` : `the clean ${what}`;
  };
  return { el, canvas, draw };
}

function aside({ network, ink, flip, probabilities, label }, slot, classes, size, amplify) {
  const canvas = picture(size, `what was changed against ${network}, ${amplify} times; grey where nothing was`);
  const bars = classes.map((name) => bar(name, name === label));
  for (const [place, { clean }] of bars.entries()) clean.style.width = percent(probabilities[0][place]);
  const chart = make("div", { className: "bars", role: "img" }, ...bars.map(({ el }) => el));
  const words = make("p", { className: "flips", textContent: flip, title: flip });
  const name = make("h3", {}, make("b", { className: `dot slot${slot}`, textContent: network }));
  name.append(`difference × ${amplify}`);
  const frame = make("div", { className: "frame" }, canvas);
  const el = make("section", { className: "aside" }, name, frame, words, chart);
  el.style.setProperty("--ink", ink);
  const draw = (shares) => {
    for (const [place, { now, number }] of bars.entries()) {
      now.style.width = percent(shares[place]);
      number.textContent = percent(shares[place]);
    }
    const told = classes.map((name, place) => [shares[place], `${name} ${percent(shares[place])}`]);
    const top = told.sort(([a], [b]) => b - a).slice(0, 3);
    chart.ariaLabel = `probabilities of ${network}: ${top.map(([, text]) => text).join(", ")}`;
  };
  return { el, canvas, draw };
}

// Pale: what the network says to the clean image; in its colour: at this ε.
function bar(name, own) {
  const [clean, now] = [make("i", { className: "clean" }), make("i", { className: "now" })];
  const number = make("span", { className: "number" });
  const said = make("span", { className: own ? "name own" : "name", textContent: name });
  const rail = make("span", { className: "rail" }, clean, now);
  return { el: make("div", { className: "bar" }, said, rail, number), clean, now, number };
}

function percent(share) {
  return `${Math.round(100 * share)}%`;
}
