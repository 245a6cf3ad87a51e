// Draws a figure when it comes near the window: plotly.js and the figure's data are fetched then, each once, from this site.
const place = new URL(".", document.currentScript.src);
const fetched = {};
window.nbtoolsFigures = {}; // the files of data put theirs here

// The search shows where in a page it found a word, for which it reads the page: a browser lets it from a server only.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

const fetchScript = (name) =>
  (fetched[name] ??= new Promise((done, failed) => {
    const script = Object.assign(document.createElement("script"), { src: new URL(name, place), onload: done, onerror: failed });
    document.head.append(script);
  }));

// A figure of usual width takes the width there is, down to LEAST; a wider one needs it, and scrolls in its box.
const LEAST = 700, USUAL = 900;
const widthOf = (box) => {
  const own = Number(box.dataset.width), room = box.parentElement.clientWidth;
  return own > USUAL ? own : Math.min(own, Math.max(room, LEAST));
};

const config = (name, still) => ({
  staticPlot: still,
  displaylogo: false,
  responsive: !still,
  modeBarButtonsToRemove: ["sendChartToCloud"], // it would upload the figure's data
  toImageButtonOptions: { format: "svg", filename: name },
});

async function draw(box) {
  const { figure: name, still } = box.dataset;
  await Promise.all([fetchScript("plotly.min.js"), fetchScript(`figures/${name}.js`)]);
  const { data, layout } = window.nbtoolsFigures[name];
  if (box.dataset.width && still === undefined) layout.width = widthOf(box);
  await window.Plotly.newPlot(box, data, layout, config(name, still !== undefined));
  box.querySelectorAll(".modebar-btn").forEach((button) => button.setAttribute("tabindex", "-1"));
  box.dataset.drawn = "";
}

const shrink = (box) => {
  const { width, height } = box.dataset;
  const scale = Math.min(box.parentElement.clientWidth / width, box.parentElement.clientHeight / height);
  box.style.transform = `scale(${scale}) translate(-50%, -50%)`;
};

const near = new IntersectionObserver(
  (entries) =>
    entries.filter((entry) => entry.isIntersecting).forEach(({ target }) => {
      near.unobserve(target);
      draw(target).catch(() => (target.textContent = "This figure's file could not be read."));
    }),
  { rootMargin: "300px" }
);

document.querySelectorAll(".chart-area").forEach((box) => {
  box.style.height = `${box.dataset.height}px`; // the page does not jump when it is drawn
  const still = box.dataset.still !== undefined;
  if (box.dataset.width) box.style.width = `${still ? box.dataset.width : widthOf(box)}px`;
  if (still) {
    new ResizeObserver(() => shrink(box)).observe(box.parentElement);
  }
  near.observe(box);
});
