// What the explorers of a page share: a listener for keys. Each explorer holds a view of it: the lamp, which listens for
// the kernel's answers, and names for sliders.
function initialize() {
  if (globalThis.nbtoolsKeys) return;
  globalThis.nbtoolsKeys = true;
  addEventListener("keydown", keepKeys, true); // before JupyterLab's own
}

function render({ model, el }) {
  const off = new AbortController();
  const explorer = () => el.closest(".nbtools-explorer");
  el.classList.add("nbtools-lamp");
  const answers = awaitAnswers(model, explorer, lamp(el), off.signal);
  nameSliders(explorer, off.signal);
  return () => {
    clearInterval(answers);
    off.abort();
  };
}

function lamp(el) {
  const states = {
    live: ["live", "the kernel hears"],
    lost: ["no answer", "the kernel does not answer"],
    quiet: ["not asked", "untouched for five minutes: touch a control, and the kernel is asked"],
  };
  const set = (state) => {
    el.dataset.state = state;
    [el.textContent, el.title] = states[state];
  };
  set("live");
  return set;
}

// JupyterLab moves between cells on arrow keys and cuts them on "x", whatever has the focus, unless it is marked so.
// Keys with Ctrl, Alt or Cmd, such as Ctrl+S, stay JupyterLab's.
function keepKeys({ target, ctrlKey, altKey, metaKey }) {
  if (!target.closest?.(".nbtools-explorer")) return;
  target.toggleAttribute("data-lm-suppress-shortcuts", !(ctrlKey || altKey || metaKey));
}

// Whenever a reader has touched a control the kernel is asked to answer. It does so after it has heard of the control;
// until then the controls say one thing and the pictures another, so after two seconds the controls stop. In between,
// for as long as somebody is there, it is asked now and then, and only the lamp shows what comes of it.
const PATIENCE = 2000;
const EVERY = 5000;
const THERE = 300_000; // after so long without a touch nobody is: a server stops the kernels of forgotten pages

function awaitAnswers(model, explorer, shine, signal) {
  const note = document.createElement("div");
  note.className = "nbtools-message nbtools-lost";
  note.setAttribute("role", "alert");
  let waiting;
  let touched = Date.now();
  let stops = false;
  const lost = () => {
    shine("lost");
    waiting = undefined;
    if (!stops) return;
    note.textContent =
      "The kernel does not answer, so the controls have stopped; charts and pictures are those of before.\n" +
      "If it is busy, wait. If it was restarted, run the notebook again. If the server is gone, start it, and reload.";
    const at = explorer();
    at?.before(note);
    at?.toggleAttribute("inert", true);
  };
  const answered = () => {
    clearTimeout(waiting);
    waiting = undefined;
    stops = false;
    note.remove();
    shine("live");
    explorer()?.removeAttribute("inert");
  };
  const ask = () => {
    if (waiting) return;
    waiting = setTimeout(lost, PATIENCE);
    try {
      model.send({});
    } catch {
      // the page is being left, and its kernel with it: if it stays after all, nobody answers, and the lamp says so
    }
  };
  const touch = ({ target }) => {
    if (!explorer()?.contains(target)) return;
    touched = Date.now();
    if (stops) return; // the first touch without an answer counts
    clearTimeout(waiting);
    waiting = undefined;
    stops = true;
    ask();
  };
  model.on("msg:custom", answered);
  signal.addEventListener("abort", () => model.off("msg:custom", answered));
  for (const kind of ["change", "click", "keyup", "pointerup", "drop"]) {
    addEventListener(kind, touch, { capture: true, signal });
  }
  return setInterval(() => {
    if (Date.now() - touched > THERE) shine("quiet");
    else if (document.visibilityState === "visible" && explorer()?.offsetParent) ask();
  }, EVERY);
}

// The sliders of ipywidgets have no name, and tell the place of a value among all in place of the value.
function nameSliders(explorer, signal) {
  const name = () => {
    for (const slider of explorer()?.querySelectorAll(".widget-slider") ?? []) {
      const parts = [".noUi-handle", ".widget-label", ".widget-readout"];
      const [handle, label, value] = parts.map((part) => slider.querySelector(part));
      handle.ariaLabel = label.textContent;
      if (handle.ariaValueText !== value.textContent) handle.ariaValueText = value.textContent;
    }
  };
  const watcher = new MutationObserver(name);
  watcher.observe(document.body, { attributeFilter: ["aria-valuetext"], childList: true, subtree: true });
  signal.addEventListener("abort", () => watcher.disconnect());
}
export default { initialize, render };
