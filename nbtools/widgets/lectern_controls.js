// What is chosen: images in the tray, networks as chips, an attack and a line about it; and what is said of the work.
function tray({ model, choose }) {
  const list = make("div", { className: "tray", role: "radiogroup", ariaLabel: "image" });
  roving(list, { chooses: true });
  const button = ({ id, source, text }) => {
    const item = make("button", { type: "button", role: "radio", title: text, data: { id } });
    item.append(make("img", { src: source, alt: text }));
    item.onclick = () => choose({ image: id, tab: "image" });
    return item;
  };
  const mark = () => {
    const { image } = model.get("choice");
    for (const item of list.children) item.setAttribute("aria-checked", item.dataset.id === image);
    reach(list, list.querySelector('[aria-checked="true"]'));
  };
  const many = () => model.get("thumbnails").length;
  const rows = () => (many() > 32 ? Math.ceil(many() / 3) : Math.max(12, Math.ceil(many() / 2)));
  const columns = () => Math.ceil(many() / rows());
  const draw = () => {
    const images = model.get("thumbnails");
    list.style.setProperty("--rows", rows());
    list.replaceChildren(...images.map(button));
    mark();
  };
  return { el: list, draw, mark, columns };
}

// Up to two networks; a third takes the second's place. Those of other seeds are behind a list.
function chips({ model, choose }) {
  const list = make("div", { className: "chips", role: "group", ariaLabel: "networks: one or two" });
  roving(list);
  const { networks } = model.get("menu");
  const seeds = [...new Set(networks.map(({ seed }) => seed))];
  let shown = networks[0].seed;
  const seed = select("seed of the networks to choose from", (value) => {
    shown = Number(value);
    draw();
  });
  options(seed, seeds.map((value) => [value, `seed ${value}`]));
  seed.hidden = seeds.length < 2;
  const pick = (name) => {
    const on = model.get("choice").networks;
    if (!on.includes(name)) choose({ networks: [on[0], name] });
    else if (on.length > 1) choose({ networks: on.filter((other) => other !== name) });
  };
  const draw = () => {
    const on = model.get("choice").networks;
    const kept = networks.filter(({ name, seed: own }) => own === shown || on.includes(name));
    const at = list.contains(document.activeElement) ? document.activeElement.dataset.name : undefined;
    list.replaceChildren(
      ...kept.map(({ name, ink }) => {
        const chip = make("button", { type: "button", className: "chip", textContent: name, data: { name } });
        chip.style.setProperty("--ink", ink);
        chip.setAttribute("aria-pressed", on.includes(name));
        chip.onclick = () => pick(name);
        return chip;
      }),
    );
    const chips = [...list.children];
    reach(list, chips.find(({ dataset }) => dataset.name === (at ?? on[0])) ?? chips[0]);
    if (at) list.querySelector('[tabindex="0"]').focus();
  };
  return { el: make("div", { className: "row" }, list, seed), draw };
}

function attacks({ model, choose }) {
  const { attacks: known, classes, steps: usual } = model.get("menu");
  const attack = select("attack", (value) => choose({ attack: value }));
  const steps = select("steps", (value) => choose({ steps: Number(value) }));
  const target = select("target", (value) => choose({ target: value }));
  const line = make("span", { className: "line" });
  options(attack, known.map(({ name }) => [name, name]));
  options(target, [["", "away from its class"], ...classes.map((name) => [name, `towards ${name}`])]);
  const draw = () => {
    const chosen = model.get("choice");
    const { says, steps: follows } = known.find(({ name }) => name === chosen.attack) ?? known[0];
    const numbers = [...new Set([...usual, chosen.steps])].sort((a, b) => a - b);
    options(steps, numbers.map((n) => [n, n === 1 ? "1 step" : `${n} steps`]));
    steps.hidden = !follows;
    [attack.value, steps.value, target.value] = [chosen.attack, chosen.steps, chosen.target];
    line.textContent = says;
    line.title = says;
  };
  return { el: make("div", { className: "row" }, attack, steps, target, line), draw };
}

function tabs({ model, choose }) {
  const list = make("div", { className: "tabs", role: "tablist", ariaLabel: "what is attacked" });
  roving(list, { chooses: true });
  for (const [tab, text] of [["image", "one image"], ["class", `class: ${model.get("menu").crowd} images at once`]]) {
    const item = make("button", { type: "button", role: "tab", textContent: text, data: { tab } });
    item.onclick = () => choose({ tab });
    list.append(item);
  }
  const draw = () => {
    const { tab } = model.get("choice");
    for (const item of list.children) item.ariaSelected = item.dataset.tab === tab;
    reach(list, list.querySelector(`[data-tab="${tab}"]`));
  };
  return { el: list, draw };
}

// What is being done or is wrong, a bar, and a way to stop.
function status({ model }) {
  const text = make("span");
  const bar = make("progress");
  const stop = make("button", { type: "button", textContent: "Cancel" });
  stop.onclick = () => model.send({ cancel: true });
  const el = make("div", { className: "status" }, text, bar, stop);
  const draw = () => {
    const { text: said, alert, done, most } = model.get("status");
    text.setAttribute("role", alert ? "alert" : "status");
    text.textContent = said;
    bar.hidden = stop.hidden = !most;
    bar.max = most || 1;
    bar.value = done;
    el.classList.toggle("alert", Boolean(alert));
    el.hidden = !said;
    el.onclick = alert ? () => (el.hidden = true) : null;
  };
  return { el, draw };
}

// Take a file, give code, a state, or an address to send.
function actions({ model, app, send }) {
  const said = make("span", { role: "status" });
  const code = make("pre", { tabIndex: 0 });
  const sheet = make("div", { className: "code", popover: "auto" }, code);
  const copy = async (text, fallback) => {
    try {
      await navigator.clipboard.writeText(text);
      said.textContent = "copied";
    } catch {
      fallback();
      said.textContent = "press Ctrl+C to copy";
    }
  };
  const show = () => {
    code.textContent = model.get("saved").code;
    sheet.showPopover();
    copy(code.textContent, () => getSelection().selectAllChildren(code));
  };
  const save = () => {
    const url = URL.createObjectURL(new Blob([model.get("saved").state], { type: "application/json" }));
    make("a", { href: url, download: "attack_explorer.json" }).click();
    setTimeout(() => URL.revokeObjectURL(url), 1000);
  };
  const link = () => {
    const { origin, pathname } = location; // without the token, which is this server's
    const address = `${origin}${pathname}#${model.get("saved").address}`;
    copy(address, () => {
      code.textContent = address;
      sheet.showPopover();
      getSelection().selectAllChildren(code);
    });
  };
  const button = (text, title, onclick) => make("button", { type: "button", textContent: text, title, onclick });
  const input = make("input", { type: "file", ariaLabel: "your own image, or a saved state" });
  input.onchange = () => {
    if (input.files.length) send(input.files[0]);
    input.value = "";
  };
  const drop = "your own image, or a saved state; or drop it anywhere here";
  const file = make("label", { className: "file", title: drop });
  file.append("Open …", input);
  const copies = app ? [button("Copy link", "an address that opens this picture", link)] : [];
  const others = [
    button("Copy as code", "lines of Python that make this picture", show),
    button("Save state", "as a file, to open again: your own image travels in it", save),
  ];
  return { el: make("div", { className: "actions" }, file, ...copies, ...others, said, sheet), said };
}

// Files are dropped anywhere on the page.
function drops(el, send) {
  const over = (on) => (event) => {
    event.preventDefault();
    event.stopPropagation();
    el.classList.toggle("over", on);
  };
  el.ondragenter = el.ondragover = over(true);
  el.ondragleave = over(false);
  el.ondrop = (event) => {
    over(false)(event);
    if (event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
  };
}
