"use strict";
// The page of lightrft chat. Everything that models, files and people wrote goes in by textContent alone.

const by = (id) => document.getElementById(id);
let state = null;
let busy = false;

function element(tag, kind, text) {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  if (text !== undefined) made.textContent = text;
  return made;
}

function complain(text) {
  by("error").textContent = text || "";
  by("error").hidden = !text;
}

async function request(path, options) {
  const response = await fetch(path, options);
  if (response.ok) return response;
  let told = `HTTP ${response.status}`;
  try { told = (await response.json()).error || told; } catch { /* no words of its own */ }
  throw new Error(told);
}

const post = (path, content) => request(path, { method: "POST", body: JSON.stringify(content || {}) });

async function act(work) {
  complain("");
  try { await work(); } catch (error) { complain(error.message); }
}

function show(next) {
  state = next;
  by("names").textContent = state.names.join(" | ");
  by("label").hidden = !state.judged;
  by("attach").hidden = state.modalities.length === 0;
  by("files").accept = state.modalities.map((modality) => `${modality}/*`).join(",");
  by("detach").hidden = state.waiting.length === 0;
  by("waiting").replaceChildren(...state.waiting.map((one) => element("li", "", `${one.modality}: ${one.name}`)));
  if (document.activeElement !== by("system")) by("system").value = state.system;
  by("system").placeholder = state.own_systems ? "each has its own" : "";
  by("numbers").replaceChildren(...state.settings.map(setting));
  by("chat").replaceChildren(...state.exchanges.map(exchange));
  const some = state.exchanges.length > 0;
  by("undo").disabled = by("retry").disabled = !some;
  toTheEnd();
}

function toTheEnd() {
  by("chat").scrollTop = by("chat").scrollHeight;
}

function setting(one) {
  const label = element("label", "", one.name);
  label.title = one.about;
  const field = element("input");
  field.name = one.name;
  field.value = one.value;
  field.addEventListener("change", () => act(async () => {
    try {
      show(await (await post("do", { line: `/set ${one.name} ${field.value}` })).json());
    } catch (error) {
      field.value = one.value;
      throw error;
    }
  }));
  label.append(field);
  return label;
}

function exchange(one, number) {
  const whole = element("article", "exchange");
  const asked = question(one.text, one.attachments, (place) => `media/${number}/${place}`);
  if (one.label !== null) asked.append(element("p", "wanted", `right answer: ${one.label}`));
  whole.append(asked);
  const answers = element("div", "answers");
  one.answers.forEach((answer, place) => {
    const box = answerBox(place);
    box.querySelector(".text").textContent = answer.text;
    box.append(element("p", "footer", answer.footer));
    if (answer.verdict) box.append(verdict(answer.verdict));
    answers.append(box);
  });
  whole.append(answers);
  return whole;
}

function question(text, attachments, source) {
  const box = element("div", "question");
  attachments.forEach((one, place) => box.append(medium(one, source(place))));
  box.append(element("p", "text", text));
  return box;
}

function medium(one, source) {
  const shown = element({ image: "img", audio: "audio", video: "video" }[one.modality], "shown");
  shown.src = source;
  shown.title = one.name;
  if (one.modality === "image") {
    shown.alt = one.name;
    shown.addEventListener("load", toTheEnd);
  } else shown.controls = true;
  return shown;
}

function answerBox(place) {
  const box = element("section", "answer");
  if (state.names.length > 1) box.append(element("h2", "", state.names[place]));
  box.append(element("p", "text", ""));
  return box;
}

function verdict(one) {
  const box = element("div", "verdict");
  if (one.score === null) {
    box.append(element("span", "problem", `not judged: ${one.error}`));
    return box;
  }
  box.append("reward ", element("b", Number(one.score) > 0 ? "" : "none", one.score));
  for (const [name, value] of Object.entries(one.parts)) box.append(element("span", "part", `${name} ${value}`));
  if (one.steps.length) box.append(element("p", "note", `steps: ${one.steps.join("  ")}`));
  for (const [name, note] of Object.entries(one.notes)) box.append(element("p", "note", `${name}: ${note}`));
  return box;
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split("\n\n");
    rest = blocks.pop();
    for (const block of blocks) yield JSON.parse(block.replace(/^data: /, ""));
  }
}

function working(now) {
  busy = now;
  by("stop").hidden = !now;
  for (const id of ["send", "undo", "retry", "reset", "load", "attach"]) by(id).disabled = now;
}

// Show the question and the answers as they are written; then everything anew, as it is kept.
async function converse(path, content, text, attachments, source) {
  if (busy) return;
  working(true);
  const chat = by("chat");
  const whole = element("article", "exchange");
  whole.append(question(text, attachments, source));
  const answers = element("div", "answers");
  const boxes = state.names.map((_, place) => answerBox(place));
  boxes.forEach((box) => box.classList.add("writing"));
  answers.append(...boxes);
  whole.append(answers);
  chat.append(whole);
  toTheEnd();
  try {
    for await (const event of events(await post(path, content))) {
      if (event.error) throw new Error(event.error);
      if (event.piece === undefined) continue;
      const low = chat.scrollHeight - chat.scrollTop - chat.clientHeight < 80;
      boxes[event.place].querySelector(".text").append(event.piece);
      if (low) toTheEnd();
    }
    by("label").value = "";
  } catch (error) {
    complain(error.message);
    if (path === "ask") by("question").value = text;
  } finally {
    working(false);
    show(await (await request("state")).json());
    by("question").focus();
  }
}

const previews = [];

// A right answer without a question is that of the last one.
async function judgeAnew() {
  show(await (await post("do", { line: `/label ${by("label").value}` })).json());
  by("label").value = "";
}

by("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = by("question").value;
  if (busy) return;
  if (!text.trim() && state.waiting.length === 0) {
    if (by("label").value && state.exchanges.length) act(judgeAnew);
    return;
  }
  complain("");
  by("question").value = "";
  const shown = previews.splice(0);
  const waiting = state.waiting;
  by("waiting").replaceChildren();
  converse("ask", { text, label: by("label").value }, text, waiting, (place) => shown[place] || "")
    .then(() => shown.forEach(URL.revokeObjectURL));
});
by("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  by("composer").requestSubmit();
});
by("stop").addEventListener("click", () => act(() => post("stop")));
by("retry").addEventListener("click", () => {
  const last = state.exchanges.at(-1), number = state.exchanges.length - 1;
  by("chat").lastElementChild.remove();
  converse("retry", {}, last.text, last.attachments, (place) => `media/${number}/${place}`);
});
for (const name of ["undo", "reset"]) {
  by(name).addEventListener("click", () => act(async () => show(await (await post("do", { line: `/${name}` })).json())));
}
by("adjust").addEventListener("click", () => {
  const section = by("settings");
  section.hidden = !section.hidden;
  by("adjust").setAttribute("aria-expanded", String(!section.hidden));
});
by("system").addEventListener("change", () => act(async () => {
  show(await (await post("do", { line: `/system ${by("system").value.trim() || "null"}` })).json());
}));
by("attach").addEventListener("click", () => by("files").click());
by("detach").addEventListener("click", () => act(async () => {
  previews.splice(0).forEach(URL.revokeObjectURL);
  show(await (await post("detach")).json());
}));
by("files").addEventListener("change", () => act(async () => {
  const chosen = [...by("files").files];
  by("files").value = "";
  for (const file of chosen) {
    const query = new URLSearchParams({ modality: file.type.split("/")[0], name: file.name });
    show(await (await request(`attach?${query}`, { method: "POST", body: file })).json());
    previews.push(URL.createObjectURL(file));
  }
}));
by("save").addEventListener("click", () => act(async () => {
  const link = element("a");
  link.href = URL.createObjectURL(await (await request("saved")).blob());
  link.download = "chat.json";
  link.click();
  URL.revokeObjectURL(link.href);
}));
by("load").addEventListener("click", () => by("chats").click());
by("chats").addEventListener("change", () => act(async () => {
  const [file] = by("chats").files;
  by("chats").value = "";
  if (file) show(await (await request("load", { method: "POST", body: file })).json());
}));

act(async () => show(await (await request("state")).json()));
