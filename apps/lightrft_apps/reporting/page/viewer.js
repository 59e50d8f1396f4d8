// The trajectory viewer: what is chosen above, groups of answers below, all of it in the address.

const CARDS_AT_FIRST = 32;

const option = (value, title, selected) => el("option", { value, selected }, title);

const chooser = (label, choices, value, change) =>
  el("label", { class: "choice" }, el("span", {}, label), el("select", {
    "aria-label": label, on: { change: (event) => change(event.target.value) },
  }, ...choices.map(([name, title]) => option(name, title, name === value))));

const stepsOf = (index, state) => {
  const kind = state.set === "eval" ? 1 : 0;
  const found = new Set();
  for (let g = 0; g < index.groups; g++) if (index.run[g] === state.run && index.kind[g] === kind) found.add(index.step[g]);
  return [...found].sort((a, b) => a - b);
};

const whenOf = (index, g) => `${index.kind[g] ? "evaluation at step" : "step"} ${index.step[g]}`;

const groupCard = async (facts, index, g, chosen, look, go) => {
  const part = await parts.read(index.part[g]);
  const place = index.place[g];
  const own = part.groups[place];
  const uid = index.uids[index.uid[g]];
  const rewards = answersOf(index, g).map((a) => index.reward[a]).filter((each) => !Number.isNaN(each));
  const mean = rewards.length ? rewards.reduce((sum, each) => sum + each, 0) / rewards.length : null;
  let elsewhere = 0;
  for (let other = 0; other < index.groups; other++) elsewhere += index.uid[other] === index.uid[g] && index.run[other] === index.run[g];
  const card = (a, dimmed) => answerCard(part, part.firstAnswer[place] + a - index.first[g], a, look, dimmed);
  const meant = new Set(chosen);
  const others = answersOf(index, g).filter((a) => !meant.has(a));
  const cards = el("div", { class: "answers" }, ...chosen.slice(0, CARDS_AT_FIRST).map((a) => card(a, false)));
  const further = (answers, dimmed, title) => answers.length ? el("button", {
    class: "more", on: {
      click: (event) => {
        cards.append(...answers.map((a) => card(a, dimmed)));
        event.target.remove();
      },
    },
  }, title) : null;
  return el("section", { class: "group", "data-group": g },
    el("header", { class: "group-head" },
      el("h2", {}, uid), el("span", { class: "fact" }, whenOf(index, g)),
      own.occurrence ? el("span", { class: "fact" }, `drawn before: ${own.occurrence}`) : null,
      own.route ? el("span", { class: "fact" }, `route ${own.route}`) : null,
      own.label && own.label !== "null" ? el("span", { class: "fact label", title: own.label }, "label ", el("b", {}, own.label)) : null,
      el("span", { class: "fact" }, `mean reward ${digits(mean, 3)}`),
      elsewhere > 1 && look.prompt === null ? el("button", { class: "link across", on: { click: () => go({ prompt: uid, page: 1 }) } },
        `this prompt across ${many(elsewhere, "step")}`) : null),
    el("div", { class: index.count[g] === 1 ? "asked single" : "asked" }, promptOf(facts, own), cards),
    further(chosen.slice(CARDS_AT_FIRST), false, `show the other ${many(chosen.length - CARDS_AT_FIRST, "answer")}`),
    further(others, true, `show the ${many(others.length, "other answer")} to this prompt`));
};

const toolbar = (facts, index, state, go) => {
  const steps = stepsOf(index, state);
  const evaluations = stepsOf(index, { ...state, set: "eval" }).length;
  const at = steps.indexOf(state.step);
  const to = (place) => go({ step: steps[place], page: 1 });
  const set = (name, title) => el("button", {
    class: "segment", "aria-pressed": String(state.set === name),
    on: { click: () => go({ set: name, step: undefined, page: 1, prompt: null }) },
  }, title);
  const find = el("input", { type: "search", id: "find", placeholder: "find in prompts and answers", value: state.find,
    "aria-label": "find in prompts and answers",
    on: { change: () => go({ find: find.value, page: 1 }) } });
  return el("div", { class: "toolbar" },
    el("div", { class: "bar" },
      runChooser(facts, state, go),
      evaluations ? el("div", { class: "segments" }, set("step", "training"), set("eval", "evaluation")) : null,
      state.prompt === null ? el("div", { class: "stepper" },
        el("button", { title: "step before ([)", disabled: at <= 0, on: { click: () => to(at - 1) } }, "‹"),
        chooser("step", [["all", "all steps"], ...steps.map((step) => [String(step), `step ${step}`])],
          state.step === null ? "all" : String(state.step),
          (value) => go({ step: value === "all" ? null : Number(value), page: 1 })),
        el("button", { title: "next step (])", disabled: at < 0 || at >= steps.length - 1, on: { click: () => to(at + 1) } }, "›"))
        : el("button", { class: "chip", id: "leave-prompt", on: { click: () => go({ prompt: null, page: 1 }) } }, `${state.prompt} across steps ✕`),
      chooser("show", Object.entries(FILTERS).map(([name, { title }]) => [name, title]), state.filter, (filter) => go({ filter, page: 1 })),
      chooser("sort by", Object.entries(SORTS).map(([name, { title }]) => [name, title]), state.sort, (sort) => go({ sort, page: 1 })),
      find),
    el("div", { class: "bar" },
      el("div", { class: "segments", role: "group", "aria-label": "colour tokens by" }, ...Object.entries(MODES).map(([name, { title }]) =>
        el("button", { class: "segment", "data-mode": name, "aria-pressed": String(state.colour === name), on: { click: () => go({ colour: name }) } }, title))),
      legend(state.colour, facts.scales[MODES[state.colour].column] ?? 1)));
};

const notices = (facts, index, state) => [
  facts.left_out ? `${many(facts.left_out, "answer")} of this run are left out of the report, evenly chosen by prompt (--max_trajectories).` : null,
  unread(facts),
  facts.media_left_out ? `${many(facts.media_left_out, "medium", "media")} did not fit into the report.` : null,
  state.filter === "formed" && !index.flags.some((flags) => flags & SHAPED) ? "No reward of this run has “format” in its name." : null,
].filter(Boolean).map((words) => el("p", { class: "notice" }, words));

let turn = 0;

/** Draw the viewer into `page`; a later call puts an end to an earlier one. */
const showAnswers = async (facts, index, state, page, go) => {
  const mine = ++turn;
  const status = el("p", { class: "quiet status", id: "count", "aria-live": "polite" }, "…");
  const list = el("div", { class: "groups" });
  page.replaceChildren(toolbar(facts, index, state, go), ...notices(facts, index, state), status, list);
  const told = (share) => {
    status.textContent = `searching … ${Math.round(100 * share)} %`;
    return mine === turn;
  };
  const choice = await choose(index, state, told);
  if (choice === null || mine !== turn) return;
  const pages = paged(index, choice);
  const current = Math.min(Math.max(1, state.page), pages.length);
  state.page = current;
  const look = { mode: state.colour, scale: facts.scales[MODES[state.colour].column] ?? 1, prompt: state.prompt };
  const cards = await Promise.all(pages[current - 1].map((g) => groupCard(facts, index, g, choice.chosen(g), look, go)));
  if (mine !== turn) return;
  status.textContent = `${many(choice.answers, "answer")} ${choice.sifted ? "match, " : ""}to ${many(choice.groups.length, "prompt")}`;
  const pager = () => pages.length < 2 ? null : el("div", { class: "pager" },
    el("button", { disabled: current === 1, on: { click: () => go({ page: current - 1 }) } }, "‹ before"),
    el("span", {}, `page ${current} of ${pages.length}`),
    el("button", { class: "next", disabled: current === pages.length, on: { click: () => go({ page: current + 1 }) } }, "next ›"));
  status.dataset.done = "";
  list.replaceChildren(pager() ?? "", ...cards, pager() ?? "",
    cards.length ? "" : el("p", { class: "empty" }, "No answer is like that."),
    el("p", { class: "keys quiet" }, ...["j", " k answer · ", "[", " ] step · ", "n", " p page · ", "c", " colour · ", "/", " find"]
      .map((each, i) => (i % 2 ? each : el("kbd", {}, each)))));
};

/** The answer `by` further on gets the focus. */
const walk = (by) => {
  const cards = [...document.querySelectorAll(".answer")];
  const here = cards.indexOf(document.activeElement.closest?.(".answer"));
  const next = cards[Math.max(0, Math.min(cards.length - 1, here < 0 ? 0 : here + by))];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
};

const keys = (index, state, go) => {
  const steps = stepsOf(index, state);
  const at = steps.indexOf(state.step);
  const step = (by) => steps[at + by] !== undefined && go({ step: steps[at + by], page: 1 });
  const modes = Object.keys(MODES);
  return {
    j: () => walk(1), k: () => walk(-1), "[": () => step(-1), "]": () => step(1),
    n: () => go({ page: state.page + 1 }), p: () => go({ page: Math.max(1, state.page - 1) }),
    c: () => go({ colour: modes[(modes.indexOf(state.colour) + 1) % modes.length] }),
    "/": () => byId("find")?.focus(),
  };
};
