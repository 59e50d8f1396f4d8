// What the run was told and what it ran on; what was changed from its default stands out.

const settingsPage = (facts, state, go) => {
  const run = facts.runs[Math.min(state.run, facts.runs.length - 1)];
  const rows = [];
  const sections = run.config.map(({ title, rows: own }) => {
    const body = own.map(({ name, value, usual, changed, doc }) => {
      const row = el("tr", { class: changed ? "changed" : "", title: doc },
        el("th", { scope: "row" }, name), el("td", {}, value),
        el("td", { class: "quiet" }, changed && usual !== null ? `default ${usual}` : ""));
      rows.push([row, `${name} ${value} ${doc}`.toLowerCase(), changed]);
      return row;
    });
    return el("section", {}, el("h2", {}, title.split(":")[0].split(" (")[0]), el("table", {}, el("tbody", {}, ...body)));
  });
  const sift = () => {
    const wanted = find.value.trim().toLowerCase();
    for (const [row, words, changed] of rows) row.hidden = !words.includes(wanted) || (only.checked && !changed);
    for (const section of sections) section.hidden = !section.querySelector("tr:not([hidden])");
  };
  const find = el("input", { type: "search", placeholder: "find a flag", "aria-label": "find a flag", on: { input: sift } });
  const only = el("input", { type: "checkbox", on: { change: sift } });
  const environment = Object.entries(run.record).map(([name, value]) =>
    el("tr", {}, el("th", { scope: "row" }, name), el("td", {}, value)));
  return el("section", { class: "page narrow" },
    el("div", { class: "bar" }, el("h1", {}, "Configuration"), runChooser(facts, state, go), find,
      el("label", { class: "check" }, only, "only what was changed")),
    environment.length ? el("section", {}, el("h2", {}, "Environment"), el("table", {}, el("tbody", {}, ...environment))) : null,
    ...sections,
    rows.length ? null : el("p", { class: "quiet" }, "The run left no configuration that can be read."));
};

const runChooser = (facts, state, go) =>
  facts.runs.length < 2 ? null
    : el("select", { "aria-label": "run", on: { change: (event) => go({ run: Number(event.target.value), step: undefined, prompt: null, page: 1 }) } },
      ...facts.runs.map(({ name }, n) => el("option", { value: n, selected: n === state.run }, name)));
