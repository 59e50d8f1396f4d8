// The first page: what the run was, how it went, and the curves that say most.

const shortened = (path) => String(path).split("/").filter(Boolean).slice(-2).join("/");

/** Runs of one recipe as one curve: [{name, colour, ...band}] of a metric. */
const seriesOf = (facts, metric) => {
  const curves = facts.curves[metric] ?? [];
  return facts.recipes.flatMap((runs, n) => {
    const own = curves.filter(([run]) => runs.includes(run)).map(([, steps, values]) => [steps, values]);
    if (!own.length) return [];
    return [{ name: recipeName(facts, runs), colour: CURVES[n % CURVES.length], ...band(own) }];
  });
};

const recipeName = (facts, runs) => {
  const names = runs.map((run) => facts.runs[run].name);
  return names.length === 1 ? names[0] : `${names[0]} and ${many(names.length - 1, "more seed")}`;
};

const figure = (title, picture, note = "") =>
  el("figure", { class: "chart" }, el("figcaption", {}, el("span", {}, title), el("span", { class: "quiet" }, note)), picture);

const metricFigure = (facts, metric) => {
  const series = seriesOf(facts, metric);
  const last = series.length === 1 ? digits(series[0].mean[series[0].mean.length - 1]) : "";
  return figure(metric, lines(`${metric} by step`, series), last);
};

const key = (facts) =>
  facts.recipes.length < 2 && facts.runs.length < 2 ? null
    : el("div", { class: "legend" }, ...facts.recipes.map((runs, n) => el("span", { class: "legend-item" },
      el("i", { class: "swatch", style: { background: CURVES[n % CURVES.length] } }),
      recipeName(facts, runs), runs.length > 1 ? ` (mean, and from the lowest to the highest of ${runs.length})` : "")));

const CHIPS = [
  ["model", ["pretrain"]], ["algorithm", ["algorithm", "advantage_estimator"]],
  ["data", ["prompt_data", "dataset", "train_data"]], ["reward", ["rule_reward", "reward_fn", "remote_rm_url", "reward_pretrain"]],
  ["learning rate", ["actor_learning_rate", "learning_rate"]], ["prompts a step", ["rollout_batch_size"]],
  ["answers a prompt", ["n_samples_per_prompt"]], ["seed", ["seed"]],
];

const chips = (run) => {
  const found = CHIPS.flatMap(([title, names]) => {
    const name = names.find((each) => run.flat[each] !== undefined);
    return name ? [[title, run.flat[name]]] : [];
  });
  return el("dl", { class: "chips" }, ...found.map(([title, value]) =>
    el("div", { title: value }, el("dt", {}, title),
      el("dd", {}, /^[/~.].*\//.test(value) ? shortened(value) : value))));
};

const card = (title, value, note, values, colour = CURVES[0]) =>
  el("div", { class: "card" }, el("div", { class: "card-title" }, title), el("div", { class: "card-value" }, value),
    el("div", { class: "card-note" }, note), values && values.length > 1 ? sparkline(values, colour) : null);

const accuracyCard = ({ accuracy_before: before, accuracy_after: after }) => {
  if (!before || !after) return null;
  const bar = ({ value, interval: [low, high] }, y, colour) => [
    svg("line", { x1: low * 100, x2: high * 100, y1: y, y2: y, stroke: colour, "stroke-width": 3, opacity: 0.4 }),
    svg("circle", { cx: value * 100, cy: y, r: 2.6, fill: colour }),
  ];
  const interval = ({ interval: [low, high] }) => `${percent(low)} to ${percent(high)}`;
  return el("div", { class: "card wide", title: "95% intervals" },
    el("div", { class: "card-title" }, "held-out accuracy"),
    el("div", { class: "card-value" }, `${percent(before.value)} → ${percent(after.value)}`),
    el("div", { class: "card-note" }, `95%: ${interval(before)}, then ${interval(after)} (${many(after.n, "prompt")})`),
    svg("svg", { class: "intervals", viewBox: "-3 0 106 18", "aria-hidden": "true" },
      svg("line", { class: "grid", x1: 0, x2: 100, y1: 9, y2: 9 }), ...bar(before, 5, CURVES[6]), ...bar(after, 13, CURVES[0])));
};

const curveCard = (facts, metric, title, show = digits, colour = CURVES[0]) => {
  const own = (facts.curves[metric] ?? []).find(([run]) => run === 0);
  if (!own) return null;
  const [, steps, values] = own;
  const end = show(values[values.length - 1], 3);
  const value = values.length > 1 ? `${show(values[0], 3)} → ${end}` : end;
  return card(title, value, `step ${steps[0]} to ${steps[steps.length - 1]}`, values, colour);
};

const CARDS = [
  ["reward/mean", "mean reward"], ["rollout/length_mean", "tokens an answer"],
  ["rollout/truncated_share", "cut off", percent], ["policy/entropy", "entropy, nats"],
  ["policy/kl_reference", "KL to the reference"], ["engine/logprob_gap_mean", "log-prob gap, nats"],
  ["policy/nll", "nll, nats a token"], ["rm/accuracy", "accuracy on pairs", percent],
  ["rm/margin", "margin"], ["eval/accuracy", "held-out accuracy", percent], ["eval/nll", "held-out nll"],
  ["time/tokens_per_second", "tokens a second"],
];

const CHIEF = ["reward/mean", "eval/accuracy", "rollout/length_mean", "policy/entropy", "policy/nll", "rm/loss",
  "rm/accuracy", "eval/nll", "policy/kl_reference", "engine/logprob_gap_mean", "group/zero_signal_share", "time/step"];

/** What is told of damaged files of answers; null where there is none. */
const unread = (facts) => facts.unread.length
  ? `${many(facts.unread.length, "file")} of answers left out: ${facts.unread.join("; ")}.` : null;

const overview = (facts, index) => {
  const [run] = facts.runs;
  const seconds = run.summary.seconds;
  const known = facts.curves;
  const took = typeof seconds === "number" ? `${digits(seconds, 3)} s` : null;
  const about = [
    run.command ? `lightrft ${run.command}` : "a run", run.summary.steps && many(run.summary.steps, "step"), took,
    facts.kept ? many(facts.kept, "answer") : "no answers kept",
  ].filter(Boolean).join(" · ");
  const accuracy = accuracyCard(run.summary);
  const cards = [accuracy, ...CARDS.filter(([metric]) => !(accuracy && metric === "eval/accuracy"))
    .map(([metric, title, show]) => curveCard(facts, metric, title, show))];
  return el("section", { class: "page" },
    el("h1", {}, facts.runs.length === 1 ? run.name : many(facts.runs.length, "run")),
    el("p", { class: "quiet" }, about),
    unread(facts) && el("p", { class: "notice" }, unread(facts)),
    facts.runs.length > 1 ? el("p", {}, el("span", { class: "quiet" }, "Below, the first of them: "), run.name) : null,
    chips(run),
    el("div", { class: "cards" }, ...cards),
    key(facts),
    el("div", { class: "charts" }, ...CHIEF.filter((metric) => known[metric]).slice(0, 6).map((metric) => metricFigure(facts, metric)),
      ...phases(facts, index)),
  );
};

const PHASES = ["sample", "judge", "estimate", "optimise", "publish", "evaluate", "checkpoint"];

/** Where the time of the first recipe's steps goes, what memory each phase takes, and how long answers are. */
const phases = (facts, index) => {
  const first = facts.recipes[0];
  const of = (metric, n) => seriesOf({ ...facts, recipes: [first] }, metric)
    .map((each) => ({ ...each, colour: CURVES[n % CURVES.length] }));
  const named = (pattern) => PHASES.flatMap((phase, n) =>
    of(pattern(phase), n).map((each) => ({ ...each, name: phase })));
  const colours = (series) => el("div", { class: "legend" }, ...series.map(({ name, colour }) =>
    el("span", { class: "legend-item" }, el("i", { class: "swatch", style: { background: colour } }), name)));
  const times = named((phase) => `time/${phase}`);
  const memory = named((phase) => `memory/${phase}_peak_gib`);
  const found = [];
  if (times.length) {
    const box = figure("time by phase", stacked("seconds of each phase by step", times), "s");
    box.append(colours(times));
    found.push(box);
  }
  if (memory.length) {
    const box = figure("most memory by phase", lines("memory of each phase by step", memory), "GiB");
    box.append(colours(memory));
    found.push(box);
  }
  const lengths = new Map();
  for (let g = 0; g < index.groups; g++) {
    if (index.kind[g] || index.run[g] !== first[0]) continue;
    const own = lengths.get(index.step[g]) ?? [];
    for (let a = index.first[g]; a < index.first[g + 1]; a++) own.push(index.length[a]);
    lengths.set(index.step[g], own);
  }
  if (lengths.size) found.push(figure("length of answers", lengthMap(lengths), "tokens"));
  return found;
};
