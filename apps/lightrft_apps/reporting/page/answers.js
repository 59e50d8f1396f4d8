// A prompt and its answers side by side: tokens in their colours, what each earned and why, and what was shown or played.

const AT_FIRST = 500;

const MEDIA = {
  "image/png": "image", "image/webp": "image", "video/mp4": "video", "audio/wav": "audio",
};

const medium = (facts, [modality, sha]) => {
  const type = Object.hasOwn(facts.media, sha) ? facts.media[sha] : null;
  const kind = type && MEDIA[type];
  if (!kind) return el("span", { class: "missing" }, `${modality} ${sha.slice(0, 12)} (not carried)`);
  const src = `data:${type};base64,${byId(`media-${sha}`).textContent}`;
  if (kind === "image") return el("img", { class: "medium", src, alt: `image ${sha.slice(0, 12)}`, loading: "lazy" });
  if (kind === "video") return el("video", { class: "medium", src, controls: true, loop: true, muted: true, playsinline: true });
  return el("audio", { class: "medium", src, controls: true, preload: "metadata" });
};

/** The conversation, media where they stand; without one, the text as the model read it, and then the media. */
const promptOf = (facts, group) => {
  const media = [...group.media];
  const turn = ({ role, content }) => {
    const pieces = Array.isArray(content) ? content : [{ type: "text", text: String(content ?? "") }];
    return el("div", { class: "turn" }, el("span", { class: "role" }, String(role ?? "")),
      el("div", { class: "said" }, ...pieces.map((piece) => {
        if (piece && piece.type !== "text" && media.length) return medium(facts, media.shift());
        return el("span", {}, String(piece?.text ?? ""));
      })));
  };
  const turns = group.messages.filter((each) => each && typeof each === "object").map(turn);
  if (!turns.length) turns.push(el("div", { class: "turn" }, el("div", { class: "said" }, group.prompt)));
  return el("div", { class: "prompt" }, ...turns,
    media.length ? el("div", { class: "media" }, ...media.map((each) => medium(facts, each))) : null,
    turns.length && group.prompt && group.messages.length
      ? el("details", { class: "raw" }, el("summary", {}, "as the model read it"), el("pre", {}, group.prompt)) : null);
};

/** Tokens as elements; data-t is a token's number in the part. */
const tokensOf = (part, answer, mode, scale, from, to) => {
  const { tokens, words, firstToken, answers } = part;
  const [begin, end] = [firstToken[answer], firstToken[answer + 1]];
  const steps = answers[answer].steps ?? [];
  const column = MODES[mode].column;
  const nodes = [];
  for (let t = begin + from; t < Math.min(begin + to, end); t++) {
    const text = words[tokens.words[t]][1] ?? "";
    const node = el("span", { class: text.includes("\n") ? "t nl" : "t", "data-t": t }, text);
    if (mode === "mask") {
      const [name, , [r, g, b], alpha] = MASKS[maskOf(tokens, t, begin, end)];
      node.style.setProperty("background-color", `rgba(${r}, ${g}, ${b}, ${alpha})`);
      node.dataset.mask = name;
    } else {
      const background = backgroundOf(mode, tokens[column][t], scale);
      if (background) node.style.setProperty("background-color", background);
    }
    nodes.push(node);
    for (const [place, reward] of steps) {
      if (place === t - begin) nodes.push(el("span", { class: "step-mark", title: "reward of the step that ends here" }, `▸ ${signed(reward)}`));
    }
  }
  return nodes;
};

const tokenHint = (event, part) => {
  const node = event.target.closest?.(".t");
  if (!node) return hint.hide();
  const t = Number(node.dataset.t);
  const { tokens, words, firstToken } = part;
  const [id, text] = words[tokens.words[t]];
  let answer = 0;
  while (firstToken[answer + 1] <= t) answer += 1;
  const mask = MASKS[maskOf(tokens, t, firstToken[answer], firstToken[answer + 1])][1];
  const trainer = tokens.logprobs[t] + tokens.gap[t];
  hint.show(event, JSON.stringify(text ?? ""), [
    ["token", `${id}, number ${t - firstToken[answer]}`],
    ["advantage", digits(tokens.advantages[t])],
    ["ratio", digits(tokens.ratios[t])],
    ["entropy", digits(tokens.entropy[t])],
    ["log-prob, engine", digits(tokens.logprobs[t])],
    ["log-prob, trainer", digits(trainer)],
    ["gap", digits(tokens.gap[t])],
    ["probability", percent(Math.exp(tokens.logprobs[t]))],
    ["mask", mask],
  ]);
};

const badge = (kind, text, title) => el("span", { class: `badge ${kind}`, title }, text);

const rewardBadge = (answer) => {
  if (answer.late) return badge("bad", "timed out", "judging took longer than --reward_timeout");
  if (answer.reward === undefined) return badge("bad", "not judged", answer.error);
  const kind = answer.accuracy === undefined ? "plain" : answer.accuracy > 0.5 ? "good" : "wrong";
  return badge(kind, `reward ${digits(answer.reward, 3)}`, `accuracy ${digits(answer.accuracy)}`);
};

const partsOf = (answer) => {
  const parts = Object.entries(answer.parts ?? {});
  if (!parts.length) return null;
  const most = Math.max(1, ...parts.map(([, value]) => Math.abs(value ?? 0)));
  return el("div", { class: "parts" }, ...parts.map(([name, value]) => el("div", { class: "part" },
    el("span", { class: "part-name" }, name),
    el("span", { class: "part-bar" }, el("i", {
      style: { width: `${(50 * Math.abs(value ?? 0)) / most}%`, background: (value ?? 0) >= 0 ? CURVES[0] : CURVES[1],
        [(value ?? 0) >= 0 ? "left" : "right"]: "50%" },
    })),
    el("b", {}, digits(value, 3)))));
};

const notesOf = (answer) => {
  const notes = Object.entries(answer.notes ?? {});
  if (!notes.length) return null;
  return el("details", { class: "notes", open: notes.length === 1 }, el("summary", {}, many(notes.length, "note of a judge", "notes of judges")),
    ...notes.map(([name, words]) => el("div", { class: "note" }, el("span", { class: "role" }, name), el("pre", {}, words))));
};

/** One answer. look: {mode, scale}; number: that of the answer in the index. */
const answerCard = (part, answer, number, look, dimmed) => {
  const own = part.answers[answer];
  const length = part.firstToken[answer + 1] - part.firstToken[answer];
  const told = own.response ? [el("span", {}, own.response)] : tokensOf(part, answer, look.mode, look.scale, 0, AT_FIRST);
  const body = el("div", { class: "tokens", on: { pointermove: (event) => tokenHint(event, part), pointerleave: hint.hide } }, ...told);
  const more = !own.response && length > AT_FIRST && el("button", {
    class: "more", on: {
      click: () => {
        body.append(...tokensOf(part, answer, look.mode, look.scale, AT_FIRST, length));
        more.remove();
      },
    },
  }, `show the other ${many(length - AT_FIRST, "token")}`);
  return el("article", { class: `answer${dimmed ? " dimmed" : ""}`, tabindex: -1, "data-answer": number, "data-part-answer": answer },
    el("header", {},
      el("span", { class: "sample" }, `#${own.sample}`), rewardBadge(own),
      own.advantage === undefined ? null : el("span", { class: "fact", title: "mean advantage of its tokens" }, `adv ${signed(own.advantage)}`),
      el("span", { class: "fact" }, [many(length, "token"), own.finish === "length" ? "" : own.finish].filter(Boolean).join(" · ")),
      own.finish === "length" ? badge("warn", "cut off", "ended by the length limit") : null),
    body, more,
    own.response ? el("p", { class: "quiet" }, "This run kept no texts of single tokens.") : null,
    own.error ? el("pre", { class: "error" }, own.error) : null,
    partsOf(own), notesOf(own));
};
