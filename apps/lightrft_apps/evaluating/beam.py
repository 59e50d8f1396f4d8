"""Beam search over the steps of an answer, steered by a process reward model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isnan

from lightrft_core import Engine, FinishReason, Group, Metrics, Prompt, Reward, Rollout, SamplingParams, Verdict


@dataclass(frozen=True)
class Beam:
    """An answer as far as it goes. ended: why it goes no further; None: it does. score: of its last step."""

    prompt: int
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    text: str = ""
    ended: FinishReason | None = None
    score: float = -inf


@dataclass
class BeamSearch:
    """An Engine whose answers to a prompt are the beams of a search, the best first (Snell et al. 2024, arXiv
    2408.03314, section 5.2: beam search against a process reward model).

    width * expand first steps are drawn and the `width` best kept; each of these is continued in `expand` ways up to
    the end of its next step, and of all continuations, and the beams that have ended before, the `width` best are kept;
    until all have ended. Beams of the same tokens are one. A beam's score is the reward of its last step; what cannot
    be scored is kept last, and of equal scores the one drawn first. With width and expand 1 it draws one answer, step
    by step, as the engine would.

    engine: continues prompts that are extended by tokens. selector: gives each step of an answer a reward, in the order
    of the answer (Verdict.steps), or the answer as far as it goes one score. decode: token ids -> text without special
    tokens. ends: tokens that end an answer. separator: text that ends a step. step_len: the longest step, in tokens.
    """

    engine: Engine
    selector: Reward
    decode: Callable[[list[int]], str]
    ends: frozenset[int]
    width: int
    expand: int
    separator: str
    step_len: int
    rounds: int = field(default=0, init=False)
    """Of all searches so far."""
    scores: dict[str, list[float]] = field(default_factory=dict[str, list[float]], init=False)
    """By prompt, those of its last search's beams."""

    def load_weights(self, version: int) -> Metrics:
        """The engine's."""
        return self.engine.load_weights(version)

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams, *, step: int) -> list[Group]:
        """The beams of each prompt, at most `width`; sampling.n plays no part, and nor do laws of single samples."""
        errors: dict[int, str] = {}
        beams = {number: [Beam(number)] for number in range(len(prompts))}
        first = True
        while going := [beam for kept in beams.values() for beam in kept if beam.ended is None]:
            self.rounds += 1
            ways = self.width * self.expand if first else self.expand
            drawn = self._continued(prompts, going, sampling, ways, errors, step=step)
            for number, kept in beams.items():
                rivals = [beam for beam in kept if beam.ended is not None] + [b for b in drawn if b.prompt == number]
                different: dict[tuple[int, ...], Beam] = {}
                for beam in rivals:
                    different.setdefault(beam.token_ids, beam)
                beams[number] = sorted(different.values(), key=lambda beam: -beam.score)[: self.width]
            first = False
        self.scores |= {prompt.uid: [beam.score for beam in beams[number]] for number, prompt in enumerate(prompts)}
        return [
            Group(
                prompt,
                [_rollout(place, beam) for place, beam in enumerate(beams[number])],
                "" if beams[number] else errors[number],
            )
            for number, prompt in enumerate(prompts)
        ]

    def _continued(
        self,
        prompts: Sequence[Prompt],
        beams: Sequence[Beam],
        sampling: SamplingParams,
        ways: int,
        errors: dict[int, str],
        *,
        step: int,
    ) -> list[Beam]:
        """Every beam's continuations, scored. Beams whose next steps have one law are drawn together."""
        drawn: list[Beam] = []
        laws = [self._law(beam, sampling, ways) for beam in beams]
        # A beam is numbered among its prompt's own, so that what is drawn for it depends on no other prompt.
        places = [[b.prompt for b in beams[:place]].count(beam.prompt) for place, beam in enumerate(beams)]
        for law in [law for place, law in enumerate(laws) if law not in laws[:place]]:
            chosen = [(place, beam) for place, beam, own in zip(places, beams, laws, strict=True) if own == law]
            asked = [
                replace(
                    prompts[beam.prompt],
                    uid=f"{prompts[beam.prompt].uid}|{place}|{len(beam.token_ids)}",
                    token_ids=(*prompts[beam.prompt].token_ids, *beam.token_ids),
                )
                for place, beam in chosen
            ]
            groups = self.engine.generate(asked, law, step=step)
            for (_, beam), group in zip(chosen, groups, strict=True):
                if group.error:
                    errors[beam.prompt] = group.error
                drawn += [self._longer(beam, rollout, sampling) for rollout in group.rollouts]
        return self._scored(prompts, drawn)

    def _law(self, beam: Beam, sampling: SamplingParams, ways: int) -> SamplingParams:
        """Of a beam's next step."""
        length = len(beam.token_ids)
        budget = min(self.step_len, sampling.max_new_tokens - length)
        return replace(
            sampling,
            n=ways,
            max_new_tokens=budget,
            min_new_tokens=min(budget, max(0, sampling.min_new_tokens - length)),
            stop=(*sampling.stop, self.separator),
            per_sample=(),
        )

    def _longer(self, beam: Beam, rollout: Rollout, sampling: SamplingParams) -> Beam:
        token_ids = (*beam.token_ids, *rollout.token_ids)
        text = self.decode(list(token_ids))
        # A stop text may have begun in an earlier step, where the engine that continues the answer does not see it.
        said = text[max(0, len(beam.text) + 1 - max(map(len, sampling.stop), default=1)) :]
        over = rollout.finish_reason is FinishReason.STOP and rollout.token_ids[-1] in {
            *self.ends,
            *sampling.stop_token_ids,
        }
        ended = FinishReason.STOP if over or any(stop in said for stop in sampling.stop) else None
        if ended is None and len(token_ids) >= sampling.max_new_tokens:
            ended = FinishReason.LENGTH
        return Beam(beam.prompt, token_ids, (*beam.logprobs, *rollout.logprobs), text, ended)

    def _scored(self, prompts: Sequence[Prompt], beams: Sequence[Beam]) -> list[Beam]:
        """The beams with their last steps' rewards; a prompt's are judged together."""
        numbers = list(dict.fromkeys(beam.prompt for beam in beams))
        by_prompt = [[beam for beam in beams if beam.prompt == number] for number in numbers]
        groups = [
            Group(prompts[number], [_rollout(place, beam) for place, beam in enumerate(own)])
            for number, own in zip(numbers, by_prompt, strict=True)
        ]
        judged = self.selector.score(groups, step=self.rounds)
        return [
            replace(beam, score=_last(verdict))
            for own, verdicts in zip(by_prompt, judged, strict=True)
            for beam, verdict in zip(own, verdicts, strict=True)
        ]


def _last(verdict: Verdict) -> float:
    if verdict.score is None:
        return -inf
    score = verdict.steps[-1][1] if verdict.steps else verdict.score
    return -inf if isnan(score) else score


def _rollout(place: int, beam: Beam) -> Rollout:
    ended = beam.ended or FinishReason.LENGTH
    ids = list(beam.token_ids)
    return Rollout(place, ids, list(beam.logprobs), [True] * len(ids), ended, beam.text)
