"""A tiny judge of made-up praise: its words, its model on disk, and comparisons of a planted preference."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

from lightrft_core import FinishReason, Group, Metrics, Prompt, Rollout, SamplingParams
from lightrft_rewards.models.judges import JudgeForm
from lightrft_rewards.models.judges.questions import questions_of
from lightrft_rewards.preferences import Comparison, load_comparisons
from lightrft_strategy.data.parts import Turn

WORTH = ("awful", "poor", "fair", "fine", "great")
"""Words by what they are worth."""
FILLERS = ("red", "blue", "tall", "small", "old", "new", "hot", "cold")
THINGS = ("house", "boat", "song", "road", "lamp", "tree")
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def answer(worth: int, random: Random) -> str:
    words = [random.choice(FILLERS), random.choice(FILLERS)]
    words.insert(random.randrange(3), WORTH[worth])
    return " ".join(words)


def rows(count: int, seed: int, *, ties: bool = False) -> list[dict[str, Any]]:
    """Pairs of which the better praise is preferred; with ties some of equal worth."""
    random = Random(seed)
    made = []
    for _ in range(count):
        better, worse = sorted(random.sample(range(len(WORTH)), 2), reverse=True)
        if ties and random.random() < 0.2:
            worse = better
        one, other = answer(better, random), answer(worse, random)
        while one == other:
            other = answer(worse, random)
        made.append(
            {"prompt": f"a {random.choice(THINGS)}", "chosen": one, "rejected": other, "margin": better - worse}
        )
    return made


def write(made: Sequence[dict[str, Any]], path: Path) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in made), encoding="utf-8")
    return path


def comparisons(folder: Path, count: int, seed: int, **asked: Any) -> list[Comparison]:
    return load_comparisons(str(write(rows(count, seed, **asked), folder / f"pairs_{seed}.jsonl"))).comparisons


def save_model(folder: Path, model: Any) -> Path:
    """A tokenizer of whole words beside a model of random weights."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    texts = [*WORTH, *FILLERS, *THINGS, "a", "User", "Assistant", "System", *map(str, range(10)), "think"]
    for form in (JudgeForm(), JudgeForm(reasoning=True), JudgeForm(kind="pointwise", heads=("score", "tone"))):
        asked = (Turn("user", ("a",)),)
        example = Comparison("x", asked, (("a",), ("a",)), dict.fromkeys(form.heads, (1.0, 2.0)))
        texts += [
            piece for q in questions_of(example, form, both_orders=True) for piece in (str(q.turn.text), q.target)
        ]
    splitter = r"<\w+>|</\w+>|\w+|\s|[^\w\s]"
    words = sorted({word for text in texts for word in re.findall(splitter, text)} | {"\n", " "})
    special = ["<end>", "<user>", "<assistant>", "<system>", "<unknown>"]
    tokenizer = Tokenizer(
        models.WordLevel({word: i for i, word in enumerate([*special, *words])}, unk_token="<unknown>")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(splitter), "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<end>",
        unk_token="<unknown>",
        additional_special_tokens=special[1:4],
        chat_template=TEMPLATE,
    )
    fast.save_pretrained(folder)
    sizes = {"vocab_size": len(fast), "eos_token_id": 0, "initializer_range": 0.1}
    model(**sizes).save_pretrained(folder)
    return folder


def oracle(prompt: str) -> str:
    """What a judge says that reads the two answers of a question, or the one, and knows what words are worth."""
    shown = re.findall(r"# Answer(?: \d)?\n(.*)\n", prompt)
    worth = [max(WORTH.index(word) for word in WORTH if word in text.split()) for text in shown]
    if len(worth) == 1:
        return f"<answer>{worth[0] + 1}</answer>"
    if worth[0] == worth[1]:
        return "<answer>Both are equally good</answer>"
    return f"<answer>Answer {1 if worth[0] > worth[1] else 2} is better</answer>"


class Said:
    """An engine that says of each prompt what a function makes of its text; prompts: all that it was asked."""

    def __init__(self, say: Callable[[str], str | None]) -> None:
        self.say = say
        self.prompts: list[Prompt] = []

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams, *, step: int) -> list[Group]:
        self.prompts += prompts
        return [self._group(prompt, sampling.n) for prompt in prompts]

    def load_weights(self, version: int) -> Metrics:
        return Metrics()

    def _group(self, prompt: Prompt, count: int) -> Group:
        said = [self.say(prompt.text) for _ in range(count)]
        if None in said:
            return Group(prompt, [], error=f"{prompt.uid}: too long")
        rollouts = [
            Rollout(number, [1], [0.0], [True], FinishReason.STOP, str(text)) for number, text in enumerate(said)
        ]
        return Group(prompt, rollouts)
