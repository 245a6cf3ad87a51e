// A figure whose script is the page's (page.js). With a copy of plotly's 5 MB in every figure, busy pages need more
// than the 2 s that anywidget waits for a script, and the figure would never change again.
export default () => {
  let figure;
  return {
    initialize(context) {
      figure = shared.plotly.then(({ default: make }) => {
        const made = make();
        made.initialize(context);
        return made;
      });
    },
    async render(context) {
      return (await figure).render(context);
    },
  };
};
