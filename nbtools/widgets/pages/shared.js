// What all pages share: the data beside a page, what is chosen and its place in the address, and controls.

// --- data ---------------------------------------------------------------------------------------------------

const boxes = new Map();

// The index and arrays of data/<name>.js. It is a script, since a page that was opened from a disk may read no other file.
function box(name) {
  if (!boxes.has(name)) boxes.set(name, unpack(name));
  return boxes.get(name);
}

async function unpack(name) {
  if (!taken.has(name)) await script(`data/${name}.js`);
  if (!taken.has(name)) throw new Error(`data/${name}.js is damaged: copy the folder as a whole`);
  const { index, text } = taken.get(name);
  taken.delete(name);
  const deflated = await fetch(`data:application/octet-stream;base64,${text}`);
  const buffer = await new Response(deflated.body.pipeThrough(new DecompressionStream("deflate"))).arrayBuffer();
  const kinds = { uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, float32: Float32Array };
  for (const [key, { kind, shape, at }] of Object.entries(index.arrays)) {
    const values = new kinds[kind](buffer, at, shape.reduce((product, n) => product * n, 1));
    index[key] = Object.assign(values, { shape });
  }
  return index;
}

function script(source) {
  return new Promise((done, failed) => {
    const onerror = () => failed(new Error(`${source} is missing: copy the folder as a whole`));
    document.head.append(Object.assign(document.createElement("script"), { src: source, onload: done, onerror }));
  });
}

// --- state --------------------------------------------------------------------------------------------------

// What is chosen, as text by name. `allowed` lists what each may be: an address that asks for something else is corrected.
function stateOf(first, allowed, changed) {
  const state = { ...first };
  const read = () => {
    for (const [name, value] of new URLSearchParams(location.hash.slice(1))) {
      if (allowed[name]?.includes(value)) state[name] = value;
    }
  };
  let waiting;
  const write = () => {
    clearTimeout(waiting);
    history.replaceState(null, "", `#${new URLSearchParams(state)}`);
  };
  addEventListener("hashchange", () => (read(), changed()));
  addEventListener("pagehide", write);
  read();
  const set = (values) => {
    Object.assign(state, values);
    clearTimeout(waiting);
    waiting = setTimeout(write, 200); // browsers refuse an address that changes at every step of a drag
    changed();
  };
  return { state, set };
}

// --- elements and controls ----------------------------------------------------------------------------------

const byId = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  return dress(document.createElement(tag), attributes, children);
}

function dress(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// A list to choose from; `options` are [value, text] or plain values.
function choice(id, options, changed) {
  const pairs = options.map((option) => (Array.isArray(option) ? option : [option, option]));
  byId(id).replaceChildren(...pairs.map(([value, text]) => make("option", { value }, text)));
  byId(id).onchange = ({ target }) => changed(target.value);
}

// A slider over places of a list, which says a value's name in place of its number.
function slider(id, names, changed) {
  const input = byId(id);
  input.max = names.length - 1;
  input.oninput = () => changed(Number(input.value));
  const ticks = input.parentElement.querySelector(".ticks");
  ticks?.replaceChildren(...names.map((name) => make("span", {}, name.replace("/255", ""))));
  return (place) => {
    input.value = place;
    input.setAttribute("aria-valuetext", names[place]);
  };
}

// A part of the one PNG of all images.
function tile(file, { columns, rows }, place, text) {
  const [x, y] = [place % columns, Math.floor(place / columns)];
  const share = (at, n) => (n > 1 ? (100 * at) / (n - 1) : 0);
  const style =
    `background: url(${file}) ${share(x, columns)}% ${share(y, rows)}% / ${100 * columns}% ${100 * rows}%;` +
    "image-rendering: pixelated";
  return make("span", { class: "tile", style, ...(text ? { role: "img", "aria-label": text } : { "aria-hidden": "true" }) });
}

// One stop for Tab; arrow keys move.
function arrows(group, move) {
  group.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    move(step);
  };
}

const percent = (share, digits = 0) => `${(100 * share).toFixed(digits)}%`;

// Whatever goes wrong is said on the page.
function complain(error) {
  document.querySelector("main").prepend(make("p", { class: "alert", role: "alert" }, error.message));
  throw error;
}
