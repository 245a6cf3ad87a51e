// What a page's figures look like, measured: called with the share of a figure's width that its plot must fill.
(least) => {
  const inset = 1.5; // pixels that two texts may share: letters do not fill their boxes
  const found = [];

  // A text's corners on the screen, turned as it is.
  const corners = (text) => {
    const { x, y, width, height } = text.getBBox(), on = text.getScreenCTM();
    const [dx, dy] = [Math.min(inset, width / 4), Math.min(height * 0.18, 4)];
    return [[x + dx, y + dy], [x + width - dx, y + dy], [x + width - dx, y + height - dy], [x + dx, y + height - dy]]
      .map(([a, b]) => [on.a * a + on.c * b + on.e, on.b * a + on.d * b + on.f]);
  };
  // Two convex shapes are apart where an edge of one has them on either side (separating axes).
  const apart = (one, other) => [one, other].some((shape) => shape.some((from, i) => {
    const to = shape[(i + 1) % shape.length], [nx, ny] = [to[1] - from[1], from[0] - to[0]];
    const [a, b] = [one, other].map((points) => points.map(([x, y]) => x * nx + y * ny));
    return Math.max(...a) <= Math.min(...b) || Math.max(...b) <= Math.min(...a);
  }));
  // Of WCAG: 1 is white. What one can see through has none, so that a dark page would show.
  const luminance = (color) => {
    const [r, g, b, alpha = 1] = color.match(/[\d.]+/g).map(Number);
    const [R, G, B] = [r, g, b].map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return alpha < 1 ? NaN : 0.2126 * R + 0.7152 * G + 0.0722 * B;
  };
  const shown = (text) => text.textContent.trim() && text.getBBox().width > 0
    && !text.closest(".hoverlayer, .modebar, defs, clipPath") && getComputedStyle(text).visibility !== "hidden"
    && +getComputedStyle(text).opacity > 0;

  for (const figure of document.querySelectorAll(".js-plotly-plot")) {
    const place = figure.closest("[data-name]"), name = place.dataset.name, width = place.clientWidth;
    const box = figure.getBoundingClientRect();
    const say = (what) => found.push(`${name}: ${what}`);
    const texts = [...figure.querySelectorAll("svg.main-svg text")].filter(shown)
      .map((text) => ({ words: text.textContent, at: corners(text), text }));
    const paper = luminance(getComputedStyle(figure.querySelector("svg.main-svg")).backgroundColor);
    for (const { words, text } of texts.filter(({ text }) => !text.closest(".plot, .overplot, .trace"))) {
      const contrast = (paper + 0.05) / (luminance(getComputedStyle(text).fill) + 0.05);
      if (!(contrast >= 4.5)) say(`"${words}" is too pale: ${contrast.toFixed(1)} : 1`);
    }
    for (const { words, at } of texts) {
      const past = Math.max(...at.map(([x, y]) => Math.max(box.left - x, x - box.right, box.top - y, y - box.bottom)));
      if (past > 0.5) say(`"${words}" is cut by ${past.toFixed(0)} px`);
    }
    texts.forEach((one, i) => texts.slice(i + 1).forEach((other) => {
      if (!apart(one.at, other.at)) say(`"${one.words}" and "${other.words}" overlap`);
    }));
    const full = figure._fullLayout, axes = Object.keys(full).filter((key) => /^xaxis\d*$/.test(key)).map((key) => full[key]);
    const scenes = Object.keys(full).filter((key) => /^scene\d*$/.test(key)).map((key) => full[key]);
    const inner = full._size, whole = [inner.l, inner.l + inner.w];
    const spans = [
      ...axes.map((axis) => (full.xaxis.constrain === "domain" && axes.length === 1 ? whole : [axis._offset, axis._offset + axis._length])),
      ...scenes.map(({ domain: { x } }) => x.map((share) => inner.l + share * inner.w)),
    ];
    const span = Math.max(...spans.map(([, end]) => end)) - Math.min(...spans.map(([start]) => start));
    if (span < least * width) say(`its plot fills ${(100 * span / width).toFixed(0)} % of the width`);
    for (const legend of figure.querySelectorAll("g.legend .bg, g.legend2 .bg")) {
      const { left, right, top, bottom } = legend.getBoundingClientRect();
      const boxes = Object.values(full._plots ?? {}).map(({ xaxis: x, yaxis: y }) =>
        [box.left + x._offset, box.left + x._offset + x._length, box.top + y._offset, box.top + y._offset + y._length]);
      if (boxes.some(([l, r, t, b]) => left < r - 1 && right > l + 1 && top < b - 1 && bottom > t + 1)) say("its legend lies over data");
      if (right > box.right + 1 || left < box.left - 1 || bottom > box.bottom + 1) say("its legend is cut");
    }
    if (figure.scrollWidth > width + 1) say("it is wider than its place");
  }
  return found;
}
