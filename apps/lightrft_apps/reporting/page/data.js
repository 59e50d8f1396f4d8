// What the page carries, unpacked when it is needed: see packed.py for how it is packed.

const HALVES = (() => {
  const table = new Float32Array(65536);
  for (let bits = 0; bits < 65536; bits++) {
    const exponent = (bits >> 10) & 31;
    const fraction = bits & 1023;
    const size = exponent === 0 ? fraction * 2 ** -24
      : exponent === 31 ? (fraction ? NaN : Infinity)
        : (1 + fraction / 1024) * 2 ** (exponent - 15);
    table[bits] = bits & 32768 ? -size : size;
  }
  return table;
})();

const bytesOf = (text) => {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  return bytes;
};

/** One column of numbers; its bytes lie plane by plane, the lowest first. */
const columnOf = (kind, planes, count) => {
  if (kind === "u1") return planes;
  if (kind === "u2" || kind === "f2") {
    const numbers = kind === "f2" ? new Float32Array(count) : new Uint16Array(count);
    for (let i = 0; i < count; i++) {
      const bits = planes[i] | (planes[count + i] << 8);
      numbers[i] = kind === "f2" ? HALVES[bits] : bits;
    }
    return numbers;
  }
  const bits = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    bits[i] = planes[i] | (planes[count + i] << 8) | (planes[2 * count + i] << 16) | (planes[3 * count + i] << 24);
  }
  return kind === "f4" ? new Float32Array(bits.buffer) : bits;
};

/** {header, columns by name} of a block of the page. */
const unpacked = async (id) => {
  const packed = new Blob([bytesOf(byId(id).textContent)]);
  const stream = packed.stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)));
  const padded = (size) => size + ((4 - (size % 4)) % 4);
  const columns = {};
  let at = 4 + padded(length);
  for (const [name, kind, count] of header.columns) {
    const size = count * Number(kind[1]);
    columns[name] = columnOf(kind, bytes.subarray(at, at + size), count);
    at += padded(size);
  }
  return { header, columns };
};

/** Where each run of `counts` begins, and where the last one ends. */
const startsOf = (counts) => {
  const starts = new Uint32Array(counts.length + 1);
  for (let i = 0; i < counts.length; i++) starts[i + 1] = starts[i] + counts[i];
  return starts;
};

/** A line for each group and each answer of the page, to filter and sort by. */
const readIndex = async () => {
  const { header, columns } = await unpacked("index");
  const { run, kind, step, part, place, uid, count, ...answer } = columns;
  const first = startsOf(count);
  const group = new Uint32Array(first[first.length - 1]);
  for (let i = 0; i < count.length; i++) group.fill(i, first[i], first[i + 1]);
  const of = (name) => answer[`answer_${name}`] ?? new Float32Array(0);
  return {
    groups: count.length,
    answers: group.length,
    uids: header.uids,
    run, kind, step, part, place, uid, count, first, group,
    length: of("length"), flags: of("flags"), reward: of("reward"), accuracy: of("accuracy"),
    advantage: of("advantage"), gap: of("gap"), ratio: of("ratio"),
  };
};

/** The parts that hold groups whole; the last ones looked at stay unpacked. */
const parts = {
  kept: new Map(),
  most: 16,
  read(number) {
    if (!this.kept.has(number)) this.kept.set(number, this.unpack(number));
    const part = this.kept.get(number);
    this.kept.delete(number);
    this.kept.set(number, part);
    if (this.kept.size > this.most) this.kept.delete(this.kept.keys().next().value);
    return part;
  },
  async unpack(number) {
    const { header, columns } = await unpacked(`part-${number}`);
    return {
      words: header.words,
      groups: header.groups,
      answers: header.answers,
      tokens: columns,
      firstAnswer: startsOf(columns.counts),
      firstToken: startsOf(columns.lengths),
    };
  },
};

const textOf = (part, answer) => {
  if (part.answers[answer].response) return part.answers[answer].response;
  let text = "";
  for (let t = part.firstToken[answer]; t < part.firstToken[answer + 1]; t++) {
    text += part.words[part.tokens.words[t]][1] ?? "";
  }
  return text;
};
