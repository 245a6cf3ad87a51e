// The attack explorer's page. A scene holds all of a choice at every ε, so ε moves here at once; the kernel hears of
// it.
function initialize({ model }) {
  const off = new AbortController();
  if (!isApp()) return; // JupyterLab's addresses are its own; there the kernel outlives a reload
  const open = () => location.hash.length > 1 && model.send({ address: location.hash });
  const write = () => history.replaceState(history.state, "", `#${model.get("saved").address}`);
  model.on("change:saved", write);
  addEventListener("hashchange", open, { signal: off.signal });
  open();
  return () => {
    off.abort();
    model.off("change:saved", write);
  };
}

function isApp() {
  return Boolean(document.querySelector('meta[name="nbtools"][content="app"]'));
}

function render({ model, el }) {
  const { levels, title: study } = model.get("menu");
  const choose = (changes) => {
    model.set("choice", { ...model.get("choice"), ...changes });
    model.save_changes();
  };
  const send = async (file) => {
    const note = { name: file.name, size: file.size };
    if (file.size > model.get("limit")) model.send(note);
    else model.send(note, undefined, [await file.arrayBuffer()]);
  };
  const index = () => Math.max(0, levels.indexOf(model.get("choice").level));
  const page = { model, choose, index, send, app: isApp() };
  const parts = [tray, chips, attacks, tabs, status, actions, path];
  const [images, networks, attack, tab, said, does, way] = parts.map((part) => part(page));
  const heading = make("h2", {}, "Attack explorer", make("small", { textContent: study }));
  const head = make("header", {}, heading, tab.el, does.el);
  const what = make("p", { className: "what", role: "status" });
  const main = make("div", { role: "tabpanel", ariaLabel: "pictures and probabilities" });
  const stage = make("div", { className: "nbtools-stage" }, head, networks.el, attack.el, main, way.el, what, said.el);
  el.replaceChildren(stage);
  drops(stage, send);
  let shown = { draw: () => {} };
  let newest = 0;
  let before;

  const draw = () => {
    const at = index();
    shown.draw(at);
    way.mark();
    stage.dataset.drawn = `${newest} ${levels[at]}`;
  };
  const drawTray = () => {
    images.draw();
    main.style.setProperty("--tray-columns", images.columns());
  };
  const build = async () => {
    const mine = ++newest;
    const scene = model.get("scene");
    const exact = { colorSpaceConversion: "none", premultiplyAlpha: "none" };
    const sheets = await Promise.all(scene.panels.map(({ sheet }) => createImageBitmap(new Blob([sheet]), exact)));
    if (mine !== newest) return;
    shown = scene.tab === "class" ? classScene(scene, sheets, page) : imageScene(scene, sheets);
    main.replaceChildren(...(scene.tab === "class" ? [] : [images.el]), ...shown.parts);
    main.className = `scene ${scene.tab}`;
    what.textContent = scene.note || `${scene.attack} on ${scene.image}. ${HINT}`;
    way.show(scene);
    draw();
  };
  const chosen = () => {
    const { level: _, ...others } = model.get("choice");
    const now = JSON.stringify(others);
    if (now !== before) for (const part of [images.mark, networks.draw, attack.draw, tab.draw]) part();
    before = now; // where ε alone has moved, no control has
    does.said.textContent = "";
    draw();
  };
  const changes = { scene: build, choice: chosen, thumbnails: drawTray, status: said.draw };
  for (const [name, change] of Object.entries(changes)) model.on(`change:${name}`, change);
  drawTray();
  said.draw();
  chosen();
  build();
  return () => {
    way.end();
    for (const [name, change] of Object.entries(changes)) model.off(`change:${name}`, change);
  };
}

const HINT =
  "Drag ε on the curves, or use arrow keys; hold a picture down to see the clean one. Pale bars: the clean image.";
export default { initialize, render };
