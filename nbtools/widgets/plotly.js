// Plotly's script, for all figures of a page: one copy, which shared.js promises.
function initialize({ model }) {
  if (shared.loading) return;
  shared.loading = true;
  const script = URL.createObjectURL(new Blob([model.get("script")], { type: "text/javascript" }));
  shared.resolve(import(script).then(() => globalThis.Plotly));
}
export default { initialize, render() {} };
