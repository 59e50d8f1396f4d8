// What colours mean. Blue and vermilion, and purple, are told apart by colour-blind readers too (Okabe and Ito).

const ABOVE = [0, 114, 178];
const BELOW = [213, 94, 0];
const MUCH = [125, 70, 180];
const CURVES = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8f98"];
const STRONGEST = 0.72;

const shade = ([red, green, blue], share) =>
  `rgba(${red}, ${green}, ${blue}, ${Number((STRONGEST * Math.min(1, share)).toFixed(3))})`;

/** column: whose numbers; of: where a number lies on the scale, -1 to 1 or 0 to 1. */
const MODES = {
  advantage: {
    title: "Advantage", column: "advantages", ends: (scale) => [`≤ −${digits(scale)}`, "0", `≥ ${digits(scale)}`],
    of: (value, scale) => value / scale, says: "blue is encouraged, vermilion discouraged",
  },
  ratio: {
    title: "Ratio", column: "ratios",
    ends: (scale) => [`≤ ${digits(2 ** -scale)}`, "1", `≥ ${digits(2 ** scale)}`],
    of: (value, scale) => Math.log2(Math.max(value, 2 ** -20)) / scale,
    says: "new probability over the old one: blue has become likelier, vermilion less likely",
  },
  entropy: {
    title: "Entropy", column: "entropy", ends: (scale) => ["0", `≥ ${digits(scale)} nats`],
    of: (value, scale) => value / scale, says: "the darker, the less sure the policy was",
  },
  gap: {
    title: "Log-prob gap", column: "gap", ends: (scale) => [`≤ −${digits(scale)}`, "0", `≥ ${digits(scale)} nats`],
    of: (value, scale) => value / scale, says: "trainer less engine: blue is likelier to the trainer, vermilion to the engine",
  },
  mask: { title: "Mask", column: null, says: "which tokens were learnt from" },
};

const MASKS = [
  ["learnt", "learnt from", [0, 114, 178], 0.45],
  ["idle", "carried no signal, so not computed", [0, 114, 178], 0.14],
  ["foreign", "not the policy's own, or left out of the loss", [128, 128, 128], 0.4],
  ["unchosen", "answer not chosen, or an evaluation", [0, 0, 0], 0],
];

/** Which kind of token this is, by number in MASKS. */
const maskOf = (tokens, at, from, to) => {
  if (!Number.isNaN(tokens.advantages[at])) return Number.isNaN(tokens.entropy[at]) ? 1 : 0;
  for (let t = from; t < to; t++) if (!Number.isNaN(tokens.advantages[t])) return 2;
  return 3;
};

/** A token's background; "" for none. */
const backgroundOf = (mode, value, scale) => {
  if (Number.isNaN(value)) return "";
  const place = MODES[mode].of(value, scale);
  if (mode === "entropy") return shade(MUCH, Math.max(0, place));
  return shade(place >= 0 ? ABOVE : BELOW, Math.abs(place));
};

const legend = (mode, scale) => {
  const { says, ends, of } = MODES[mode];
  if (mode === "mask") {
    return el("div", { class: "legend" }, ...MASKS.map(([, name, [r, g, b], alpha]) =>
      el("span", { class: "legend-item" },
        el("i", { class: "swatch wide", style: { background: `rgba(${r}, ${g}, ${b}, ${alpha})` } }), name)));
  }
  const numbers = ends(scale);
  const stops = mode === "entropy" ? [shade(MUCH, 0), shade(MUCH, 1)] : [shade(BELOW, 1), shade(ABOVE, 0), shade(ABOVE, 1)];
  return el("div", { class: "legend" },
    el("span", { class: "number" }, numbers[0]),
    el("i", { class: "ramp", style: { background: `linear-gradient(to right, ${stops.join(", ")})` } }),
    el("span", { class: "number" }, numbers[numbers.length - 1]),
    el("span", { class: "quiet" }, says));
};
