// Every number of the metrics, by what it is about; curves are drawn when they come into sight.

const GROUPS = [
  ["Reward", ["reward/"], ["reward/mean", "reward/part/"]],
  ["Evaluation", ["eval/"], ["eval/accuracy", "eval/pass@1", "eval/nll"]],
  ["Reward model", ["rm/"], ["rm/loss", "rm/accuracy", "rm/margin"]],
  ["Answers", ["rollout/"], ["rollout/length_mean", "rollout/truncated_share", "rollout/bubble_ratio"]],
  ["Groups", ["group/"], ["group/pass_rate", "group/zero_signal_share"]],
  ["Policy", ["policy/"], ["policy/loss", "policy/nll", "policy/kl_reference", "policy/entropy", "policy/ratio_max"]],
  ["Critic", ["critic/"], ["critic/explained_variance"]],
  ["Engine against trainer", ["engine/", "sync/"], ["engine/logprob_gap_mean", "engine/logprob_gap_max"]],
  ["Optimiser", ["optimiser/"], ["optimiser/grad_norm", "optimiser/learning_rate"]],
  ["Time", ["time/"], ["time/step", "time/tokens_per_second"]],
  ["Memory", ["memory/"], []],
];

const inGroups = (names) => {
  const left = new Set(names);
  const found = GROUPS.map(([title, prefixes, first]) => {
    const own = [...left].filter((name) => prefixes.some((prefix) => name.startsWith(prefix)));
    own.forEach((name) => left.delete(name));
    const rank = (name) => {
      const place = first.findIndex((each) => name === each || (each.endsWith("/") && name.startsWith(each)));
      return place < 0 ? first.length : place;
    };
    return [title, own.sort((a, b) => rank(a) - rank(b) || a.localeCompare(b))];
  });
  return [...found, ["Other", [...left].sort()]].filter(([, own]) => own.length);
};

const curvesPage = (facts) => {
  const boxes = [];
  const drawer = new IntersectionObserver((seen) => {
    for (const { isIntersecting, target } of seen) {
      if (!isIntersecting) continue;
      drawer.unobserve(target);
      target.replaceChildren(metricFigure(facts, target.dataset.metric));
    }
  }, { rootMargin: "400px" });
  const sections = inGroups(Object.keys(facts.curves)).map(([title, names]) =>
    el("section", {}, el("h2", {}, title), el("div", { class: "charts" }, ...names.map((metric) => {
      const box = el("div", { class: "chart-box", "data-metric": metric });
      boxes.push(box);
      drawer.observe(box);
      return box;
    }))));
  const find = el("input", {
    type: "search", placeholder: "find a metric", "aria-label": "find a metric", on: {
      input: () => {
        const wanted = find.value.trim().toLowerCase();
        for (const box of boxes) box.hidden = !box.dataset.metric.toLowerCase().includes(wanted);
        for (const section of sections) section.hidden = !section.querySelector(".chart-box:not([hidden])");
      },
    },
  });
  return el("section", { class: "page" },
    el("div", { class: "bar" }, el("h1", {}, "Curves"), find, key(facts)), ...sections);
};
