// What the parts of the attack explorer's page are made of, besides plain elements.

// A canvas as large as a picture has pixels; the page scales it without smoothing.
function picture([height, width], text) {
  return make("canvas", { width, height, role: "img", ariaLabel: text });
}

// Buttons in a row: one stop for Tab, arrow keys move; where they choose, they choose at once.
function roving(list, { chooses = false } = {}) {
  list.addEventListener("keydown", (event) => {
    const items = [...list.querySelectorAll("button")];
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const next = items[(items.indexOf(event.target) + step + items.length) % items.length];
    if (chooses) next.click();
    reach(list, next);
    next.focus();
  });
}

function reach(list, item) {
  for (const button of list.querySelectorAll("button")) button.tabIndex = button === item ? 0 : -1;
}

function select(label, change) {
  const made = make("select", { ariaLabel: label });
  made.onchange = () => change(made.value);
  return made;
}

function options(list, entries) {
  list.replaceChildren(...entries.map(([value, text]) => make("option", { value, textContent: text })));
}
