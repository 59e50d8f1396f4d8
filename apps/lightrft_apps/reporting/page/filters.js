// Which answers are looked at, and in what order: by the index alone, but for words that are looked for.

const TRUNCATED = 1;
const FAILED = 2;
const WELL_FORMED = 8;
const SHAPED = 16;

/** Answers with the largest numbers among those asked about: a tenth of them, and a hundred at most. */
const foremost = (answers, number) => {
  const known = answers.filter((a) => !Number.isNaN(number(a))).sort((a, b) => number(b) - number(a));
  return new Set(known.slice(0, Math.max(1, Math.min(100, Math.ceil(known.length / 10)))));
};

const wrong = (index, a) => (Number.isNaN(index.accuracy[a]) ? index.reward[a] <= 0 : index.accuracy[a] === 0);

/** Each: of the answers asked about, those that are meant. sort: what to look at them by. */
const FILTERS = {
  all: { title: "all answers", of: null },
  formed: { title: "reward 0 but format right", of: (index, answers) =>
    answers.filter((a) => index.flags[a] & WELL_FORMED && wrong(index, a)) },
  truncated: { title: "cut off", of: (index, answers) => answers.filter((a) => index.flags[a] & TRUNCATED) },
  failed: { title: "judging failed", of: (index, answers) => answers.filter((a) => index.flags[a] & FAILED) },
  right: { title: "right", of: (index, answers) => answers.filter((a) => index.accuracy[a] > 0.5) },
  gap: { title: "highest log-prob gap", sort: "gap", of: (index, answers) => foremost(answers, (a) => index.gap[a]) },
  ratio: { title: "furthest ratio", sort: "ratio", of: (index, answers) => foremost(answers, (a) => index.ratio[a]) },
  highest: { title: "highest reward", sort: "highest", of: (index, answers) => foremost(answers, (a) => index.reward[a]) },
  lowest: { title: "lowest reward", sort: "lowest", of: (index, answers) => foremost(answers, (a) => -index.reward[a]) },
};

const most = (numbers) => numbers.reduce((best, each) => (each > best ? each : best), -Infinity);

/** Each: a number of a group by its answers, the largest first. */
const SORTS = {
  order: { title: "as drawn" },
  highest: { title: "highest reward", of: (index, answers) => most(answers.map((a) => index.reward[a])) },
  lowest: { title: "lowest reward", of: (index, answers) => most(answers.map((a) => -index.reward[a])) },
  spread: { title: "most different rewards", of: (index, answers) =>
    most(answers.map((a) => index.reward[a])) + most(answers.map((a) => -index.reward[a])) },
  gap: { title: "highest log-prob gap", of: (index, answers) => most(answers.map((a) => index.gap[a])) },
  ratio: { title: "furthest ratio", of: (index, answers) => most(answers.map((a) => index.ratio[a])) },
  longest: { title: "longest answer", of: (index, answers) => most(answers.map((a) => index.length[a])) },
};

const inScope = (index, state) => {
  const prompt = state.prompt === null ? -1 : index.uids.indexOf(state.prompt);
  const found = [];
  for (let g = 0; g < index.groups; g++) {
    if (index.run[g] !== state.run) continue;
    if (state.prompt !== null ? index.uid[g] === prompt
      : index.kind[g] === (state.set === "eval" ? 1 : 0) && (state.step === null || index.step[g] === state.step)) found.push(g);
  }
  return found;
};

const answersOf = (index, g) => Array.from({ length: index.count[g] }, (_, i) => index.first[g] + i);

/** Answers that hold the words, or whose prompt does; told of how many of the groups have been read. */
const containing = async (index, groups, words, told) => {
  const found = new Set();
  for (const [read, g] of groups.entries()) {
    if (read % 50 === 0 && !told(read / groups.length)) return null;
    const part = await parts.read(index.part[g]);
    const place = index.place[g];
    const asked = part.groups[place].prompt.toLowerCase().includes(words);
    answersOf(index, g).forEach((a, i) => {
      if (asked || textOf(part, part.firstAnswer[place] + i).toLowerCase().includes(words)) found.add(a);
    });
  }
  return found;
};

/** {groups in order, chosen: a group's answers that are meant, answers: how many these are}; null if it is given up. */
const choose = async (index, state, told) => {
  const scope = inScope(index, state);
  const filter = FILTERS[state.filter];
  let meant = null;
  if (filter.of) meant = new Set(filter.of(index, scope.flatMap((g) => answersOf(index, g))));
  const words = state.find.trim().toLowerCase();
  if (words) {
    const found = await containing(index, scope, words, told);
    if (found === null) return null;
    meant = meant ? new Set([...meant].filter((a) => found.has(a))) : found;
  }
  const chosen = (g) => (meant ? answersOf(index, g).filter((a) => meant.has(a)) : answersOf(index, g));
  let groups = meant ? scope.filter((g) => chosen(g).length) : scope;
  const sort = SORTS[state.sort].of ?? SORTS[filter.sort]?.of;
  if (sort) {
    const place = new Map(groups.map((g) => [g, sort(index, chosen(g))]));
    groups = [...groups].sort((a, b) => place.get(b) - place.get(a) || a - b);
  }
  return { groups, chosen, answers: meant ? meant.size : groups.reduce((sum, g) => sum + index.count[g], 0), sifted: meant !== null };
};

const AT_ONCE = { answers: 24, tokens: 6000 };

/** Groups cut into pages that are quick to show. */
const paged = (index, { groups, chosen }) => {
  const pages = [[]];
  let answers = 0;
  let tokens = 0;
  for (const g of groups) {
    const own = chosen(g);
    const long = own.reduce((sum, a) => sum + Math.min(AT_FIRST, index.length[a]), 0);
    const full = answers + own.length > AT_ONCE.answers || tokens + long > AT_ONCE.tokens;
    if (pages[pages.length - 1].length && full) {
      pages.push([]);
      answers = 0;
      tokens = 0;
    }
    pages[pages.length - 1].push(g);
    answers += own.length;
    tokens += long;
  }
  return pages;
};
