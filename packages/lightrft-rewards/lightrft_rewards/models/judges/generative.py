"""A generative judge of a run's answers: a Scorer that asks a language model which is better, or for a grade."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
from typing import Any

from lightrft_core import Engine, Group, Media, Prompt, SamplingParams
from lightrft_rewards.models.judges.asking import said_by
from lightrft_rewards.models.judges.questions import Question, compared, graded
from lightrft_rewards.models.judges.writing import JudgeWriter
from lightrft_rewards.notes import note_of
from lightrft_rewards.preferences.comparison import Comparison
from lightrft_rewards.rules.judgement import TIE, grade_of, verdict_of
from lightrft_rewards.samples import Outcome, Sample
from lightrft_strategy.data.parts import Medium, Piece, Turn
from lightrft_strategy.data.rejected import RowError


@dataclass
class _Tally:
    """What one sample gained by each judgement, 0 to 1, None by one that cannot be read; what these said; and what else
    went wrong."""

    credits: list[float | None] = field(default_factory=list[float | None])
    written: list[str] = field(default_factory=list[str])
    problem: str = ""


@dataclass(frozen=True)
class _Asked:
    """One question. tallies: of the samples that are shown, in the order in which they are."""

    tallies: tuple[_Tally, ...]
    prompt: Prompt


class GenerativeScorer:
    """Judges by what an engine's model says of answers, in the head that its form names first.

    Pairwise, an answer is compared with others of its call (in training: of its prompt), in both orders, and its score
    is the share of the judgements it wins, a tie counting half; an answer alone cannot be judged. Pointwise, its score
    is its grade, 0 for the lowest and 1 for the highest, the mean of so many samples. accuracy is the score. Answers
    that say the same are equally good, without being asked about. A judgement that cannot be read counts for neither
    side; an answer of which none can has an error. Judgements are drawn by a key of what is judged, so that the same
    answers are judged alike, whenever that is. Its note is what the judge wrote, of a comparison also as which answer.

    engine: of the judge, which the caller closes. opponents: how many others an answer is compared with at least, as
    far as there are so many. samples: grades of each answer. temperature: of the judgements, 0 being greedy.
    identity: tells this judge's weights from others'.
    """

    def __init__(
        self,
        engine: Engine,
        writer: JudgeWriter,
        *,
        name: str = "judge",
        opponents: int = 4,
        samples: int = 1,
        temperature: float = 0.0,
        identity: str = "",
    ) -> None:
        self.engine, self.writer, self.name, self.opponents = engine, writer, name, opponents
        self.sampling = SamplingParams(
            temperature=temperature,
            max_new_tokens=writer.form.generate_max_len,
            n=1 if writer.form.pairwise else samples,
        )
        self.identity = identity
        self.parts = (name,)

    def score(self, calls: Sequence[Sequence[Sample]]) -> list[list[Outcome]]:
        """One outcome per sample, nested as the calls are."""
        tallies = [[_Tally() for _ in call] for call in calls]
        asked: list[_Asked] = []
        for call, tally in zip(calls, tallies, strict=True):
            for members in self._matches(len(call)):
                shown = [call[member] for member in members]
                own = tuple(tally[member] for member in members)
                if len(shown) > 1 and shown[0].response == shown[1].response:
                    for each in own:
                        each.credits.append(0.5)
                    continue
                try:
                    asked.append(_Asked(own, self._prompt(shown)))
                except RowError as error:
                    for each, sample in zip(own, shown, strict=True):
                        each.problem = f"{self.describe(sample)}: {error}"
        groups = self.engine.generate([each.prompt for each in asked], self.sampling, step=0) if asked else []
        for question, group in zip(asked, groups, strict=True):
            credits = self._credits(group, len(question.tallies))
            for place, (tally_of_one, gained) in enumerate(zip(question.tallies, credits, strict=True), start=1):
                tally_of_one.credits += gained
                role = f"[as Answer {place}] " if len(question.tallies) > 1 else ""
                tally_of_one.written += [f"{role}{rollout.text.strip()}" for rollout in group.rollouts]
                tally_of_one.problem = tally_of_one.problem or (group.error and f"judge {self.name}: {group.error}")
        return [
            [self._outcome(sample, own) for sample, own in zip(call, tally, strict=True)]
            for call, tally in zip(calls, tallies, strict=True)
        ]

    def fingerprint(self) -> str:
        """Of the judge's identity, and of all that decides what it is asked and how its judgements are drawn."""
        decides = {
            "identity": self.identity,
            "form": asdict(self.writer.form),
            "sampling": asdict(self.sampling),
            "opponents": self.opponents,
            "template": str(self.writer.tokenizer.chat_template),
        }
        return sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()

    def describe(self, sample: Sample) -> str:
        """The judge and the sample."""
        return f"judge {self.name}, {sample.name}"

    def close(self) -> None:
        """Nothing to do: the engine is its caller's."""

    def _matches(self, answers: int) -> Iterator[tuple[int, ...]]:
        """Who is shown together: each pair in both orders, every answer with as many others as any; or one by one.

        Answers stand in a ring, and meet those within half as many places as there are opponents.
        """
        if not self.writer.form.pairwise:
            yield from ((member,) for member in range(answers))
            return
        pairs = {
            tuple(sorted((member, (member + distance) % answers)))
            for distance in range(1, min(answers // 2, -(-self.opponents // 2)) + 1)
            for member in range(answers)
        }
        for first, second in sorted(pairs):
            yield (first, second)
            yield (second, first)

    def _prompt(self, shown: Sequence[Sample]) -> Prompt:
        form, first = self.writer.form, shown[0]
        comparison = Comparison("", _asked(first), tuple((sample.response,) for sample in shown), {})
        question: Question = (
            compared(comparison, (0, 1), form.heads[0], form)
            if form.pairwise
            else graded(comparison, 0, form.heads[0], form)
        )
        known: Mapping[str, Media] = {media.sha256: media for media in first.media}
        prompt = self.writer.prompt(question, known)
        key = sha256(prompt.text.encode() + "".join(media.sha256 for media in prompt.media).encode()).hexdigest()
        return replace(prompt, uid=f"{self.name}/{key}")

    def _credits(self, group: Group, members: int) -> list[list[float | None]]:
        """What each of those shown gains by each judgement; None by one that cannot be read."""
        form = self.writer.form
        if not form.pairwise:
            grades = [grade_of(rollout.text, form.lowest, form.highest) for rollout in group.rollouts]
            scale = form.highest - form.lowest
            return [[None if grade is None else (grade - form.lowest) / scale for grade in grades]]
        verdict = verdict_of(said_by(group))
        if verdict is None:
            return [[None]] * members
        return [[0.5 if verdict == TIE else float(verdict == place)] for place in (1, 2)]

    def _outcome(self, sample: Sample, tally: _Tally) -> Outcome:
        credits, notes = tally.credits, {self.name: note_of(tally.written)} if tally.written else {}
        readable = [credit for credit in credits if credit is not None]
        if not readable:
            nothing = (
                f"none of {len(credits)} judgements can be read" if credits else "there is no answer to compare it with"
            )
            return Outcome(error=tally.problem or f"{self.describe(sample)}: {nothing}", notes=notes)
        score = sum(readable) / len(readable)
        metrics = {f"{self.name}/unreadable_share": 1 - len(readable) / len(credits)}
        return Outcome(score, score, {self.name: score}, metrics, notes=notes)


def _asked(sample: Sample) -> tuple[Turn, ...]:
    """The chat that a sample answers, its media named by their hash."""
    if not sample.messages:
        return (Turn("user", (sample.prompt,)),)
    return tuple(Turn(message["role"], tuple(_pieces(message["content"]))) for message in sample.messages)


def _pieces(content: str | Sequence[Mapping[str, Any]]) -> Iterator[Piece]:
    if isinstance(content, str):
        yield content
        return
    for part in content:
        if part["type"] == "text":
            yield part["text"]
        else:
            yield Medium(part["type"], part, f"the {part['type']} of the question")
