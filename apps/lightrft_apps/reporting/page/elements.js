// Elements made by code alone: texts of a run become text nodes and attribute values, never markup.

const SVG = "http://www.w3.org/2000/svg";

const filled = (node, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    else if (name === "style") for (const [rule, to] of Object.entries(value)) node.style.setProperty(rule, to);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children.flat()) {
    if (child !== null && child !== undefined && child !== false) node.append(child);
  }
  return node;
};

const el = (name, attributes = {}, ...children) => filled(document.createElement(name), attributes, children);
const svg = (name, attributes = {}, ...children) =>
  filled(document.createElementNS(SVG, name), attributes, children);

const byId = (id) => document.getElementById(id);

/** A number with four digits that matter; a dash for none. */
const digits = (value, count = 4) => {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e6)) return value.toExponential(Math.max(0, count - 2)).replace("-", "−");
  return String(Number(value.toPrecision(count))).replace("-", "−");
};

const percent = (value) => (value === null || value === undefined ? "–" : `${(100 * value).toFixed(1)} %`);
const signed = (value) => (value > 0 ? `+${digits(value, 3)}` : digits(value, 3));
const many = (count, one, several = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : several}`;

/** The hint that follows the pointer: lines of [name, value], under a first line. */
const hint = {
  show(event, head, rows) {
    const box = byId("hint");
    box.replaceChildren(
      el("div", { class: "hint-head" }, head),
      ...rows.map(([name, value, colour]) =>
        el("div", { class: "hint-row" },
          el("span", {}, colour ? el("i", { class: "swatch", style: { background: colour } }) : null, name),
          el("b", {}, value))),
    );
    box.hidden = false;
    const { offsetWidth: width, offsetHeight: height } = box;
    const right = event.clientX + 16 + width > innerWidth ? event.clientX - width - 12 : event.clientX + 16;
    const below = event.clientY + 18 + height > innerHeight ? event.clientY - height - 12 : event.clientY + 18;
    box.style.setProperty("left", `${Math.max(4, right)}px`);
    box.style.setProperty("top", `${Math.max(4, below)}px`);
  },
  hide() {
    byId("hint").hidden = true;
  },
};
