// Draws the kernel's figure when a view is made and when the figure changes; tells what the mouse is on. The script is
// the page's (plotly.js): with a copy of plotly's 5 MB in every figure, busy pages need more than the 2 s that anywidget
// waits for a script, and the figure would never change again.
async function render({ model, el }) {
  const plotly = await shared.plotly;
  const draw = () => {
    const { data, layout } = JSON.parse(model.get("_json"));
    return plotly.react(el, data, layout, { displaylogo: false, responsive: true });
  };
  model.on("change:_json", draw); // before the first drawing, which takes a while: no change is missed
  await draw();
  for (const how of ["click", "hover"]) {
    el.on(`plotly_${how}`, ({ points: [{ curveNumber: trace, pointNumber: index, x, y }] }) =>
      model.send({ how, trace, x, y, index }),
    );
  }
  return () => {
    model.off("change:_json", draw);
    plotly.purge(el);
  };
}
export default { render };
