// The page's parts, and what is looked at, which the address keeps.

const VIEWS = [["overview", "Overview"], ["curves", "Curves"], ["answers", "Trajectories"], ["settings", "Configuration"]];

const USUAL = { view: "overview", run: 0, set: "step", step: undefined, colour: "advantage", filter: "all", sort: "order",
  find: "", page: 1, prompt: null };

const whole = (text, usual) => (/^\d+$/.test(text ?? "") ? Number(text) : usual);
const known = (name, table, usual) => (name !== null && Object.hasOwn(table, name) ? name : usual);

/** What the address asks for; anything else in it is not heeded. */
const fromAddress = (facts, index) => {
  const asked = new URLSearchParams(location.hash.slice(1));
  const state = {
    view: known(asked.get("view"), Object.fromEntries(VIEWS), USUAL.view),
    run: Math.min(whole(asked.get("run"), 0), facts.runs.length - 1),
    set: asked.get("set") === "eval" ? "eval" : "step",
    step: asked.get("step") === "all" ? null : whole(asked.get("step"), undefined),
    colour: known(asked.get("colour"), MODES, USUAL.colour),
    filter: known(asked.get("filter"), FILTERS, USUAL.filter),
    sort: known(asked.get("sort"), SORTS, USUAL.sort),
    find: asked.get("find") ?? "",
    page: whole(asked.get("page"), 1),
    prompt: index.uids.includes(asked.get("prompt")) ? asked.get("prompt") : null,
  };
  return settled(index, state);
};

/** With a step that there is: the last, unless one is asked for. */
const settled = (index, state) => {
  if (!stepsOf(index, state).length && stepsOf(index, { ...state, set: "eval" }).length) state.set = "eval";
  const steps = stepsOf(index, state);
  if (state.step !== null && !steps.includes(state.step)) state.step = steps[steps.length - 1];
  return state;
};

const addressOf = (state) => {
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (name === "step" && state.view === "answers") words.set("step", value === null ? "all" : String(value));
    else if (value !== USUAL[name] && value !== undefined && value !== null && name !== "step") words.set(name, String(value));
  }
  return `#${words}`;
};

const begin = async () => {
  const [{ header: facts }, index] = await Promise.all([unpacked("facts"), readIndex()]);
  const main = byId("main");
  let state;

  const show = async () => {
    hint.hide();
    byId("tabs").replaceChildren(...VIEWS
      .filter(([view]) => view !== "answers" || index.answers)
      .map(([view, title]) => el("button", {
        class: "tab", "data-view": view, "aria-current": state.view === view ? "page" : null,
        on: { click: () => go({ view }) },
      }, title)));
    if (state.view === "overview") main.replaceChildren(overview(facts, index));
    if (state.view === "curves") main.replaceChildren(curvesPage(facts));
    if (state.view === "settings") main.replaceChildren(settingsPage(facts, state, go));
    if (state.view === "answers") {
      const page = main.querySelector(".viewer") ?? el("section", { class: "page viewer" });
      if (!page.isConnected) main.replaceChildren(page);
      await showAnswers(facts, index, state, page, go);
    }
    document.documentElement.dataset.ready = addressOf(state);
    performance.mark("ready");
  };

  const go = (changes) => {
    const turned = changes.view || changes.page || "step" in changes || "prompt" in changes;
    state = settled(index, { ...state, ...changes });
    history.replaceState(null, "", addressOf(state));
    if (turned) scrollTo(0, 0);
    return show();
  };

  byId("title").textContent = facts.runs.length === 1 ? facts.runs[0].name : many(facts.runs.length, "run");
  addEventListener("hashchange", () => {
    state = fromAddress(facts, index);
    show();
  });
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, select, textarea")) return;
    const act = state.view === "answers" ? keys(index, state, go)[event.key] : undefined;
    if (!act) return;
    event.preventDefault();
    act();
  });
  state = fromAddress(facts, index);
  await show();
};

begin().catch((error) => {
  byId("main").replaceChildren(el("p", { class: "notice" },
    `This report cannot be read: ${error.message}. It needs a browser of 2023 or later.`));
});
