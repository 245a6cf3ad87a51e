// Stands before plotly.js and figure.js: what they share on a page, a promise of plotly that plotly.js keeps.
const shared = (globalThis.nbtools ??= promised());

function promised() {
  let resolve;
  const plotly = new Promise((done) => (resolve = done));
  return { plotly, resolve };
}

