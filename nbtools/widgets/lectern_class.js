// A class of images attacked at once: which still stand under each network, and how many.
function classScene(scene, sheets, { choose }) {
  const { panels, ids, size, difference } = scene;
  const [height, width] = size;
  const crowds = panels.map((panel, slot) => crowd(panel, slot, scene, choose));
  const words = make("p", { className: "flips" });
  const counts = panels.map((panel, slot) => tally(panel, slot, ids.length));
  const draw = (at) => {
    for (const [slot, { canvases, draw: mark }] of crowds.entries()) {
      for (const [i, canvas] of canvases.entries()) {
        const from = [i * width, at * height, width, height];
        canvas.getContext("2d").drawImage(sheets[slot], ...from, 0, 0, width, height);
      }
      mark(at);
      counts[slot].draw(at);
    }
    words.textContent = difference[at];
  };
  const right = make("div", { className: "asides tallies" }, ...counts.map(({ el }) => el), words);
  return { parts: [...crowds.map(({ el }) => el), right], draw };
}

function crowd({ network, ink, says, stands, counts }, slot, { ids, labels, size }, choose) {
  const canvases = ids.map(() => make("canvas", { width: size[1], height: size[0] }));
  const tiles = ids.map((id, i) => {
    const tile = make("button", { type: "button", className: "tile" }, canvases[i], make("span"));
    tile.onclick = () => choose({ image: id, tab: "image" });
    return tile;
  });
  const count = make("span", { className: "verdict" });
  const head = make("h3", {}, make("b", { className: `dot slot${slot}`, textContent: network }), count);
  const list = make("div", { className: "tiles", role: "group", ariaLabel: `images under ${network}` }, ...tiles);
  list.style.setProperty("--columns", Math.ceil(Math.sqrt(ids.length)));
  roving(list);
  reach(list, tiles[0]);
  const el = make("section", { className: "card", ariaLabel: `network ${network}` }, head, list);
  el.style.setProperty("--ink", ink);
  const draw = (at) => {
    count.textContent = `${counts[at]} of ${ids.length} still stand`;
    for (const [i, tile] of tiles.entries()) {
      tile.classList.toggle("fell", !stands[at][i]);
      tile.lastChild.textContent = stands[at][i] ? "" : says[at][i];
      tile.ariaLabel = tile.title = `${ids[i]}: ${labels[i]}${stands[at][i] ? ", stands" : ` → ${says[at][i]}`}`;
    }
  };
  return { el, canvases, draw };
}

function tally({ network, ink, says, stands, counts, words }, slot, n) {
  const number = make("div", { className: "count" });
  const bar = make("i", { className: "now" });
  const share = make("p", { className: "flips" });
  const taken = make("p", { className: "flips" });
  const name = make("h3", {}, make("b", { className: `dot slot${slot}`, textContent: network }), "still stand");
  const rail = make("span", { className: "rail" }, bar);
  const el = make("section", { className: "aside" }, name, number, rail, share, taken);
  el.style.setProperty("--ink", ink);
  const draw = (at) => {
    number.replaceChildren(make("b", { textContent: counts[at] }), ` of ${n}`);
    bar.style.width = percent(counts[at] / n);
    share.textContent = words[at];
    const fallen = says[at].filter((_, i) => !stands[at][i]);
    const often = [...new Set(fallen)].map((name) => [fallen.filter((other) => other === name).length, name]);
    const told = often.sort(([a], [b]) => b - a).slice(0, 4).map(([times, name]) => `${name} ${times}`);
    const more = often.length > 4 ? " …" : ".";
    taken.textContent = told.length ? `The fallen are taken for ${told.join(", ")}${more}` : "";
  };
  return { el, draw };
}
