// What the explorers of a page share: plotly's script, and a listener for keys.
function initialize({ model }) {
  if (shared.page) return;
  shared.page = true;
  const script = URL.createObjectURL(new Blob([model.get("plotly")], { type: "text/javascript" }));
  shared.resolve(import(script));
  addEventListener("keydown", keepKeys, true); // before JupyterLab's own
}

// JupyterLab moves between cells on arrow keys and cuts them on "x", whatever has the focus, unless it is marked so.
// Keys with Ctrl, Alt or Cmd, such as Ctrl+S, stay JupyterLab's.
function keepKeys({ target, ctrlKey, altKey, metaKey }) {
  if (!target.closest?.(".nbtools-explorer")) return;
  target.toggleAttribute("data-lm-suppress-shortcuts", !(ctrlKey || altKey || metaKey));
}
export default { initialize, render() {} };
