// Pictures of numbers over steps, drawn as SVG: lines with bands, stacked areas, and a map of lengths.

const FRAME = { width: 420, height: 200, left: 50, right: 12, top: 10, bottom: 26 };

const marksBetween = (low, high, wanted = 4) => {
  const span = high - low || Math.abs(high) || 1;
  const power = 10 ** Math.floor(Math.log10(span / wanted));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((each) => each * wanted >= span * 0.999);
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(first + 1, Math.ceil(high / step - 1e-9));
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
};

/** How marks are written: with as many decimals as tell them apart. */
const labels = (marks) => {
  const step = marks[1] - marks[0];
  const most = Math.max(Math.abs(marks[0]), Math.abs(marks[marks.length - 1]));
  if (most >= 1e5 || most < 1e-3) return (mark) => (mark === 0 ? "0" : mark.toExponential(1).replace("-", "−"));
  const decimals = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  return (mark) => mark.toFixed(decimals).replace("-", "−");
};

const wholeMarks = (low, high) =>
  marksBetween(low, high, 6).filter((mark) => Number.isInteger(mark) && mark >= low && mark <= high);

/** Axes for steps and values: {picture, x, y}, into which to draw. */
const framed = (steps, low, high, about) => {
  const { width, height, left, right, top, bottom } = FRAME;
  const marks = marksBetween(low, high);
  const [floor, ceiling] = [marks[0], marks[marks.length - 1]];
  const [begin, end] = [steps[0], steps[steps.length - 1]];
  const x = (step) => (begin === end ? (left + width - right) / 2
    : left + ((step - begin) / (end - begin)) * (width - left - right));
  const y = (value) => height - bottom - ((value - floor) / (ceiling - floor)) * (height - top - bottom);
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": about });
  const label = labels(marks);
  for (const mark of marks) {
    picture.append(
      svg("line", { class: "grid", x1: left, x2: width - right, y1: y(mark), y2: y(mark) }),
      svg("text", { class: "tick", x: left - 7, y: y(mark) + 3.5, "text-anchor": "end" }, label(mark)),
    );
  }
  for (const mark of begin === end ? [begin] : wholeMarks(begin, end)) {
    picture.append(svg("text", { class: "tick", x: x(mark), y: height - 8, "text-anchor": "middle" }, String(mark)));
  }
  return { picture, x, y, floor };
};

const path = (points) => points.map(([x, y], i) => `${i ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

/** Call `tell(step, event)` with the step nearest to the pointer, and draw a line there. */
const pointed = ({ picture, x }, steps, tell) => {
  const { height, top, bottom, width } = FRAME;
  const line = svg("line", { class: "cursor", y1: top, y2: height - bottom, visibility: "hidden" });
  picture.append(line);
  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const at = ((event.clientX - box.left) / box.width) * width;
    const step = steps.reduce((best, each) => (Math.abs(x(each) - at) < Math.abs(x(best) - at) ? each : best));
    line.setAttribute("x1", x(step));
    line.setAttribute("x2", x(step));
    line.setAttribute("visibility", "visible");
    tell(step, event);
  });
  picture.addEventListener("pointerleave", () => {
    line.setAttribute("visibility", "hidden");
    hint.hide();
  });
  return picture;
};

/** Mean, lowest and highest of several runs' [steps, values], by step. */
const band = (curves) => {
  const at = new Map();
  for (const [steps, values] of curves) {
    steps.forEach((step, i) => at.set(step, [...(at.get(step) ?? []), values[i]]));
  }
  const steps = [...at.keys()].sort((a, b) => a - b);
  const all = steps.map((step) => at.get(step));
  return {
    steps,
    mean: all.map((values) => values.reduce((sum, each) => sum + each, 0) / values.length),
    low: all.map((values) => Math.min(...values)),
    high: all.map((values) => Math.max(...values)),
    runs: curves.length,
  };
};

/** series: [{name, colour, ...band}], one line each, with a band where there are several runs. */
const lines = (about, series) => {
  const steps = [...new Set(series.flatMap((each) => each.steps))].sort((a, b) => a - b);
  const frame = framed(steps, Math.min(...series.flatMap((each) => each.low)),
    Math.max(...series.flatMap((each) => each.high)), about);
  const { picture, x, y } = frame;
  for (const each of series) {
    const points = (values) => each.steps.map((step, i) => [x(step), y(values[i])]);
    if (each.runs > 1) {
      const edge = path([...points(each.high), ...points(each.low).reverse()]);
      picture.append(svg("path", { d: `${edge}Z`, fill: each.colour, opacity: 0.16 }));
    }
    picture.append(svg("path", { class: "curve", d: path(points(each.mean)), stroke: each.colour }));
    if (each.steps.length < 40) {
      for (const [cx, cy] of points(each.mean)) picture.append(svg("circle", { cx, cy, r: 2, fill: each.colour }));
    }
  }
  return pointed(frame, steps, (step, event) => {
    const rows = series.flatMap((each) => {
      const i = each.steps.indexOf(step);
      if (i < 0) return [];
      const spread = each.runs > 1 ? `  (${digits(each.low[i])} to ${digits(each.high[i])})` : "";
      return [[each.name, digits(each.mean[i]) + spread, each.colour]];
    });
    hint.show(event, `step ${step}`, rows);
  });
};

/** series: [{name, colour, steps, mean}], areas one upon the other. */
const stacked = (about, series) => {
  const steps = [...new Set(series.flatMap((each) => each.steps))].sort((a, b) => a - b);
  const values = series.map((each) => {
    const at = new Map(each.steps.map((step, i) => [step, each.mean[i]]));
    return steps.map((step) => at.get(step) ?? 0);
  });
  const tops = [];
  values.forEach((row, n) => tops.push(row.map((value, i) => value + (n ? tops[n - 1][i] : 0))));
  const frame = framed(steps, 0, Math.max(...tops[tops.length - 1]), about);
  const { picture, x, y } = frame;
  series.forEach((each, n) => {
    const upper = steps.map((step, i) => [x(step), y(tops[n][i])]);
    const lower = steps.map((step, i) => [x(step), y(n ? tops[n - 1][i] : 0)]);
    if (steps.length === 1) {
      const [[cx, top], [, foot]] = [upper[0], lower[0]];
      picture.append(svg("rect", { x: cx - 20, width: 40, y: top, height: foot - top, fill: each.colour, opacity: 0.8 }));
    } else {
      picture.append(svg("path", { d: `${path([...upper, ...lower.reverse()])}Z`, fill: each.colour, opacity: 0.8 }));
    }
  });
  return pointed(frame, steps, (step, event) => {
    const i = steps.indexOf(step);
    const rows = series.map((each, n) => [each.name, `${digits(values[n][i], 3)} s`, each.colour]).reverse();
    hint.show(event, `step ${step}`, rows);
  });
};

/** How many answers of each step are how long: darker where there are more. at: step -> lengths. */
const lengthMap = (at) => {
  const steps = [...at.keys()].sort((a, b) => a - b);
  const longest = Math.max(1, ...steps.map((step) => at.get(step).reduce((most, each) => Math.max(most, each), 0)));
  const wide = Math.max(1, Math.ceil(longest / 24));
  const rows = Math.floor(longest / wide) + 1;
  const frame = framed(steps, 0, rows * wide, "lengths of answers by step");
  const { picture, x, y } = frame;
  const column = steps.length > 1 ? Math.max(1, (FRAME.width - FRAME.left - FRAME.right) / (steps.length - 1)) : 40;
  const counts = new Map(steps.map((step) => {
    const row = new Array(rows).fill(0);
    for (const length of at.get(step)) row[Math.floor(length / wide)] += 1;
    return [step, row];
  }));
  for (const step of steps) {
    const row = counts.get(step);
    const most = Math.max(...row);
    row.forEach((count, bin) => {
      if (!count) return;
      const left = Math.max(FRAME.left, x(step) - column / 2);
      const right = Math.min(FRAME.width - FRAME.right, x(step) + column / 2);
      picture.append(svg("rect", {
        x: left, width: Math.max(1, right - left - (column > 6 ? 1 : 0)), fill: CURVES[0],
        y: y((bin + 1) * wide), height: Math.max(1, y(bin * wide) - y((bin + 1) * wide) - 0.5),
        opacity: (0.12 + (0.88 * count) / most).toFixed(2),
      }));
    });
  }
  return pointed(frame, steps, (step, event) => {
    const lengths = [...at.get(step)].sort((a, b) => a - b);
    const share = (part) => digits(lengths[Math.min(lengths.length - 1, Math.floor(part * lengths.length))]);
    hint.show(event, `step ${step}`, [["answers", String(lengths.length)], ["shortest", share(0)],
      ["half are below", share(0.5)], ["nine of ten", share(0.9)], ["longest", share(1)]]);
  });
};

const sparkline = (values, colour) => {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const points = values.map((value, i) => [
    2 + (i / Math.max(1, values.length - 1)) * 96, 24 - (high > low ? (value - low) / (high - low) : 0.5) * 20]);
  return svg("svg", { class: "spark", viewBox: "0 0 100 28", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("path", { class: "curve", d: path(points), stroke: colour, "vector-effect": "non-scaling-stroke" }));
};
