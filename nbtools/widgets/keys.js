// JupyterLab moves between cells on arrow keys and cuts them on "x", whatever has the focus, unless it is marked so.
// Keys with Ctrl, Alt or Cmd, such as Ctrl+S, stay JupyterLab's.
function initialize() {
  if (globalThis.nbtoolsKeys) return;
  globalThis.nbtoolsKeys = true;
  const mark = ({ target, ctrlKey, altKey, metaKey }) => {
    if (!target.closest?.(".nbtools-explorer")) return;
    target.toggleAttribute("data-lm-suppress-shortcuts", !(ctrlKey || altKey || metaKey));
  };
  addEventListener("keydown", mark, true); // before JupyterLab's own
}
export default { initialize, render() {} };
