// The first page: a picture of each explorer, drawn from the same data.

async function start() {
  const attack = await box("attack");
  const few = attack.images.slice(0, 18).map((_, at) => tile("data/attack.png", attack.sprite, at));
  byId("attack").replaceChildren(make("div", { class: "tray" }, ...few));

  const { ranks, colors, ids } = await box("geometry");
  const canvas = make("canvas", { "aria-hidden": "true" });
  rdm(canvas, ids.length, ranks.subarray(-ranks.shape[1]), colors);
  byId("geometry").replaceChildren(canvas);

  const study = await box("study");
  const { accuracy } = Object.values(study.answers).find((answer) => answer.accuracy);
  const level = study.levels[Math.floor(study.levels.length / 2)];
  const at = {};
  accuracy.condition.forEach((name, row) => {
    const [mean, low, high] = ["accuracy", "ci_low", "ci_high"].map((column) => accuracy[column][row]);
    if (accuracy.level[row] === level) at[name] = { accuracy: mean, ci_low: low, ci_high: high };
  });
  const ends = Object.values(at).flatMap(({ accuracy, ci_low, ci_high }) => [accuracy, ci_low ?? accuracy, ci_high ?? accuracy]);
  const range = [Math.min(...ends) - 0.02, Math.max(...ends) + 0.02];
  chart("study", (width) => width / 1.7, (svg, width, height) => hierarchy(svg, width, height, study, at, [], range, false));
}

start().catch(complain);
