// Thumbnails to choose from (one stop for Tab, arrow keys move), and a place to drop a file on.
function render({ model, el }) {
  el.classList.add("nbtools-tray");
  const list = document.createElement("div");
  list.setAttribute("role", "radiogroup");
  list.setAttribute("aria-label", "image");
  const drop = document.createElement("label");
  drop.className = "nbtools-drop";
  const input = Object.assign(document.createElement("input"), { type: "file" });
  input.setAttribute("aria-label", "your own image, or a saved state");
  drop.append("Drop your own image or a saved state here, or ", input);
  el.append(list, drop);

  const choose = (id) => {
    model.set("value", id);
    model.save_changes();
  };
  const button = ({ id, source, text }) => {
    const item = document.createElement("button");
    const image = Object.assign(document.createElement("img"), { src: source, alt: text });
    item.append(image);
    item.title = text;
    item.dataset.id = id;
    item.type = "button";
    item.setAttribute("role", "radio");
    item.onclick = () => choose(id);
    return item;
  };
  const mark = () => {
    for (const item of list.children) {
      const on = item.dataset.id === model.get("value");
      item.setAttribute("aria-checked", on);
      item.tabIndex = on ? 0 : -1;
    }
  };
  const draw = () => {
    list.replaceChildren(...model.get("thumbnails").map(button));
    mark();
  };
  list.onkeydown = (event) => {
    const items = [...list.children];
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    event.stopPropagation();
    const at = items.findIndex((item) => item.dataset.id === model.get("value"));
    const next = items[(at + step + items.length) % items.length];
    choose(next.dataset.id);
    next.focus();
  };

  const send = async (file) => {
    const note = { name: file.name, size: file.size };
    if (file.size > model.get("limit")) model.send(note);
    else model.send(note, undefined, [await file.arrayBuffer()]);
  };
  input.onchange = () => {
    if (input.files.length) send(input.files[0]);
    input.value = "";
  };
  const over = (on) => (event) => {
    event.preventDefault();
    event.stopPropagation();
    drop.classList.toggle("nbtools-over", on);
  };
  drop.ondragenter = drop.ondragover = over(true);
  drop.ondragleave = over(false);
  drop.ondrop = (event) => {
    over(false)(event);
    if (event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
  };

  model.on("change:thumbnails", draw);
  model.on("change:value", mark);
  draw();
}
export default { render };
