// What the explorers of a page share: plotly's script, and a listener for keys. Each explorer holds a view of it, which
// listens for the kernel's answers and gives sliders their names.
function initialize({ model }) {
  if (shared.page) return;
  shared.page = true;
  const script = URL.createObjectURL(new Blob([model.get("plotly")], { type: "text/javascript" }));
  shared.resolve(import(script).then(() => globalThis.Plotly));
  addEventListener("keydown", keepKeys, true); // before JupyterLab's own
}

function render({ model, el }) {
  const off = new AbortController();
  const explorer = () => el.closest(".nbtools-explorer");
  awaitAnswers(model, explorer, off.signal);
  nameSliders(explorer, off.signal);
  return () => off.abort();
}

// JupyterLab moves between cells on arrow keys and cuts them on "x", whatever has the focus, unless it is marked so.
// Keys with Ctrl, Alt or Cmd, such as Ctrl+S, stay JupyterLab's.
function keepKeys({ target, ctrlKey, altKey, metaKey }) {
  if (!target.closest?.(".nbtools-explorer")) return;
  target.toggleAttribute("data-lm-suppress-shortcuts", !(ctrlKey || altKey || metaKey));
}

// Whenever a reader has touched a control the kernel is asked to answer. It does so after it has heard of the control;
// until then the controls say one thing and the pictures another, so after two seconds the controls stop.
function awaitAnswers(model, explorer, signal) {
  const note = document.createElement("div");
  note.className = "nbtools-message";
  note.setAttribute("role", "alert");
  let waiting;
  const lost = (stopped) => {
    note.textContent =
      "The kernel does not answer, so the controls have stopped; charts and pictures are those of before.\n" +
      "If it is busy, wait. If it was restarted, run the notebook again. If the server is gone, start it, and reload.";
    stopped.before(note);
    stopped.inert = true;
  };
  const answered = () => {
    clearTimeout(waiting);
    waiting = undefined;
    note.remove();
    explorer()?.removeAttribute("inert");
  };
  const touched = ({ target }) => {
    const at = explorer();
    if (waiting || !at?.contains(target)) return;
    waiting = setTimeout(lost, 2000, at);
    model.send({});
  };
  model.on("msg:custom", answered);
  signal.addEventListener("abort", () => model.off("msg:custom", answered));
  for (const kind of ["change", "click", "keyup", "pointerup", "drop"]) {
    addEventListener(kind, touched, { capture: true, signal });
  }
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
