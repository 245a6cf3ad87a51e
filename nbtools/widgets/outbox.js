// Two buttons: copy the code that makes the picture (and show it), save the state as a file.
function render({ model, el }) {
  el.classList.add("nbtools-outbox");
  const button = (text, action) => {
    const made = document.createElement("button");
    made.type = "button";
    made.textContent = text;
    made.onclick = action;
    return made;
  };
  const code = document.createElement("pre");
  code.tabIndex = 0;
  code.hidden = true;
  const said = document.createElement("span");
  said.setAttribute("role", "status");
  const copy = async () => {
    code.hidden = false;
    try {
      await navigator.clipboard.writeText(model.get("code"));
      said.textContent = "copied";
    } catch {
      getSelection().selectAllChildren(code);
      said.textContent = "press Ctrl+C to copy";
    }
  };
  const save = () => {
    const url = URL.createObjectURL(new Blob([model.get("state")], { type: "application/json" }));
    Object.assign(document.createElement("a"), { href: url, download: "attack_explorer.json" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  };
  const draw = () => {
    code.textContent = model.get("code");
    said.textContent = "";
  };
  el.append(button("Copy as code", copy), button("Save state", save), said, code);
  model.on("change:code", draw);
  draw();
}
export default { render };
