"""A scalar reward model that judges samples: a Scorer."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from hashlib import sha256
from itertools import repeat
from math import exp, isfinite, nan
from pathlib import Path
from typing import NamedTuple, Self

import torch

from lightrft_rewards.models.batches import collate_contests
from lightrft_rewards.models.card import RewardCard
from lightrft_rewards.models.fingerprint import weights_digest
from lightrft_rewards.models.loading import load_reward_model
from lightrft_rewards.models.losses import LOG_VARIANCES
from lightrft_rewards.models.passage import Contest, Passage
from lightrft_rewards.models.reward_model import RewardModel
from lightrft_rewards.models.steps import step_ends, stepped_passage
from lightrft_rewards.models.writing import Writer, sample_messages
from lightrft_rewards.samples import Outcome, Sample


class Reading(NamedTuple):
    """What one head says of a passage. variance: as the loss takes it to be; None: it does not say how sure it is."""

    mean: float
    variance: float | None


class ModelScorer:
    """Judges by a reward model, on whatever device it is when it is asked.

    A sample's score is its reward, of several heads their mean; parts are the rewards by the model's name (name.head
    where there are several), metrics how uncertain they are. accuracy is the probability of being preferred to an
    answer of average reward (Bradley and Terry 1952), as far as the card knows the average; else 0 is taken for it.
    What cannot be written as the model reads it, or gets no finite reward, is an outcome with an error.

    A process reward model (card.process) judges each step, which the card's separator ends: a step's reward is the
    probability sigma(r) that it is good, of several heads their mean; an answer's, and its accuracy, that of its worst
    step (Lightman et al. 2023, arXiv 2305.20050, appendix F, which also has their product).

    token_budget: the most tokens of a batch, padding included; a longer passage is read alone.
    """

    def __init__(
        self,
        module: RewardModel,
        writer: Writer,
        card: RewardCard | None = None,
        *,
        name: str = "rm",
        token_budget: int = 8192,
    ) -> None:
        self.module, self.writer, self.name, self.token_budget = module, writer, name, token_budget
        self.card = card or RewardCard(module.heads, module.pooling, module.uncertain)
        several = len(module.heads) > 1
        self.parts = tuple(f"{name}.{head}" for head in module.heads) if several else (name,)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        *,
        name: str = "rm",
        token_budget: int = 8192,
        max_len: int | None = None,
        dtype: torch.dtype = torch.float32,
        value_prefix_head: str | None = None,
        media_urls: bool = False,
        attn_implementation: str | None = None,
        trust_remote_code: bool = False,
    ) -> Self:
        """A model from a folder. max_len: the most tokens of a passage; None: what the model was trained with.

        value_prefix_head: as for load_reward_model. media_urls: fetch media that are given as URLs.
        Raises OSError or ValueError, in a person's words, if it cannot be loaded or its tokenizer cannot write.
        """
        loaded = load_reward_model(
            folder,
            dtype=dtype,
            attn_implementation=attn_implementation,
            trust_remote_code=trust_remote_code,
            value_prefix_head=value_prefix_head,
        )
        writer = Writer(
            loaded.tokenizer,
            loaded.encoder(),
            apply_chat_template=loaded.card.apply_chat_template,
            max_len=loaded.card.max_len if max_len is None else max_len,
            max_len_flag="--reward_max_len",
            media_urls=media_urls,
        )
        return cls(loaded.model, writer, loaded.card, name=name, token_budget=token_budget)

    def score(self, calls: Sequence[Sequence[Sample]]) -> list[list[Outcome]]:
        """One outcome per sample, nested as the calls are."""
        samples = [sample for call in calls for sample in call]
        passages: dict[int, Passage] = {}
        outcomes: dict[int, Outcome] = {}
        for place, sample in enumerate(samples):
            try:
                passages[place] = self._passage(sample)
            except ValueError as error:
                outcomes[place] = Outcome(error=f"{self.describe(sample)}: {error}")
        judged = self._stepwise if self.card.process else self._outcome
        for place, readings in zip(passages, self.read_all([*passages.values()]), strict=True):
            outcomes[place] = judged(samples[place], readings)
        found = iter(outcomes[place] for place in range(len(samples)))
        return [[next(found) for _ in call] for call in calls]

    def read(self, passages: Sequence[Passage]) -> list[dict[str, Reading]]:
        """What each head says of each passage as a whole, in their order."""
        whole = [Passage(passage.token_ids, passage.media) for passage in passages]
        return [readings[0] for readings in self.read_all(whole)]

    @torch.no_grad()
    def read_all(self, passages: Sequence[Passage]) -> list[list[dict[str, Reading]]]:
        """What each head says of each step of each passage; of passages without steps, of the whole."""
        device = next(self.module.parameters()).device
        order = sorted(range(len(passages)), key=lambda place: -len(passages[place].token_ids))
        by_steps = any(passage.steps for passage in passages)
        found: dict[int, list[dict[str, Reading]]] = {}
        while order:
            count = max(1, self.token_budget // len(passages[order[0]].token_ids))
            chosen, order = order[:count], order[count:]
            contest = Contest("", tuple(passages[place] for place in chosen), {})
            batch = collate_contests([contest], self.module.heads, by_steps=by_steps)
            output = self.module(batch.to(device))
            known = output.log_variances
            spread = None if known is None else known.double().clamp(*LOG_VARIANCES).exp().tolist()
            rows = zip(batch.passage.tolist(), output.means.tolist(), spread or repeat(None), strict=False)
            for row, means, variances in rows:
                readings = map(Reading, means, variances or repeat(None))
                found.setdefault(chosen[row], []).append(dict(zip(self.module.heads, readings, strict=True)))
        return [found[place] for place in range(len(passages))]

    def fingerprint(self) -> str:
        """Of the weights as they are when it is first asked, and of all that decides what is read."""
        return self._fingerprint

    def describe(self, sample: Sample) -> str:
        """The model and the sample."""
        return f"reward model {self.name}, {sample.name}"

    def close(self) -> None:
        """Nothing to do: the model goes with the last that knows it."""

    def _passage(self, sample: Sample) -> Passage:
        if not self.card.process:
            return self.writer.passage(sample)
        ends = step_ends(sample.response, self.card.step_separator)
        return stepped_passage(self.writer, sample_messages(sample), sample.media, ends)

    def _stepwise(self, sample: Sample, steps: Sequence[Mapping[str, Reading]]) -> Outcome:
        """Of a sample whose steps were read."""
        chances = [[probability(reading.mean) for reading in readings.values()] for readings in steps]
        rewards = [sum(row) / len(row) for row in chances]
        if not all(map(isfinite, rewards)):
            return Outcome(error=f"{self.describe(sample)}: the rewards of its steps are {rewards}: no finite numbers")
        worst = {part: min(column) for part, column in zip(self.parts, zip(*chances, strict=True), strict=True)}
        ends = step_ends(sample.response, self.card.step_separator)
        metrics = {f"{self.name}/steps": float(len(rewards))}
        return Outcome(min(rewards), min(rewards), worst, metrics, steps=tuple(zip(ends, rewards, strict=True)))

    def _outcome(self, sample: Sample, whole: Sequence[Mapping[str, Reading]]) -> Outcome:
        (readings,) = whole
        means = [reading.mean for reading in readings.values()]
        if not all(map(isfinite, means)):
            return Outcome(error=f"{self.describe(sample)}: its reward is {means}: no finite number")
        score = sum(means) / len(means)
        average = sum(self.card.means.get(head, 0.0) for head in readings) / len(means)
        spread = {
            f"{self.name}/sigma" if len(readings) == 1 else f"{self.name}/{head}_sigma": reading.variance**0.5
            for head, reading in readings.items()
            if reading.variance is not None
        }
        chance = probability((score - average) / self.card.temperature)
        return Outcome(score, chance, dict(zip(self.parts, means, strict=True)), spread)

    @cached_property
    def _fingerprint(self) -> str:
        tokenizer, encoder = self.writer.tokenizer, self.writer.encoder
        decides = {
            "weights": weights_digest(self.module),
            "name": self.name,
            "card": asdict(self.card),
            "max_len": self.writer.max_len,
            "chat": self.writer.chat is not None,
            "template": tokenizer.chat_template,
            "modalities": None if encoder is None else sorted(encoder.modalities),
            "vocabulary": sorted(tokenizer.get_vocab().items()),
        }
        return sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def probability(logit: float) -> float:
    """1 / (1 + e^-logit); NaN of NaN."""
    return 1 / (1 + exp(-max(-700.0, min(700.0, logit)))) if isfinite(logit) else nan
