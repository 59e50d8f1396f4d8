"""An Engine of the loop over another project's engine: answers out, weights in with a receipt, replay after a death."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from lightrft_core import (
    FinishReason,
    Group,
    Metrics,
    Prompt,
    Rollout,
    SamplingParams,
    answer_seed,
)
from lightrft_strategy.engines.backend import Backend, Completion, EngineDied, Request
from lightrft_strategy.engines.expected import ExpectedLengths
from lightrft_strategy.engines.sync.fingerprint import fingerprint
from lightrft_strategy.engines.sync.probe import Probe
from lightrft_strategy.engines.sync.published import WeightSource
from lightrft_strategy.engines.sync.receipt import Receipt, check_arrival
from lightrft_strategy.perception import Adapter, EngineMedia

RESTARTS = 3
"""Times a run may find its engine dead before it gives up."""


class ServedEngine:
    """core's Engine over a Backend.

    source: the trainer's weights. decode: token ids -> text without special tokens. probe: see Probe.
    adapter: of a model that sees or hears: prompts' media as the engine takes them, tokens that no answer may hold.
    seed: keys every answer's randomness. refuse: why a prompt cannot be answered in so many tokens, "" if it can.
    progress: called with the number of answers finished since the last call.
    say: told what a person should know, such as a restart.
    """

    def __init__(
        self,
        backend: Backend,
        source: WeightSource,
        decode: Callable[[list[list[int]]], list[str]],
        *,
        probe: Probe,
        seed: int,
        adapter: Adapter | None = None,
        refuse: Callable[[Prompt, int], str] = lambda prompt, budget: "",
        progress: Callable[[int], None] = lambda finished: None,
        say: Callable[[str], None] = lambda message: None,
    ) -> None:
        self.backend, self.source, self.decode, self.probe, self.seed = backend, source, decode, probe, seed
        self.adapter, self.refuse, self.progress, self.say = adapter, refuse, progress, say
        self.version = 0
        self.receipt: Receipt | None = None
        self.asleep = False
        self.restarts = 0
        self._expected = ExpectedLengths()

    def load_weights(self, version: int) -> Metrics:
        """Hand the trainer's weights over; wakes a sleeping engine: its weights, the hand-over, its cache.

        Returns the receipt's sync/* entries. Raises SyncError, EngineTimeout or EngineDied if it cannot be shown that
        the engine now holds these very weights.
        """
        self.version = version
        try:
            receipt = self._hand_over()
        except EngineDied as died:
            receipt = self._restart(died)
        metrics = receipt.metrics()
        metrics.max("sync/restarts", [self.restarts])
        return metrics

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams, *, step: int) -> list[Group]:
        """sampling.n rollouts for each prompt, in the order of the prompts; those expected longest are begun first.

        An engine that dies is started again with the present weights, and asked for what is still missing.
        Raises ValueError for a law that the engine cannot draw by.
        """
        if unable := self.refusals(sampling):
            raise ValueError("; ".join(unable))
        if self.adapter is not None:
            sampling = sampling.without(self.adapter.placeholders)
        budget = max(sampling.of(sample).max_new_tokens for sample in range(sampling.n))
        refusals = [self.refuse(prompt, budget) for prompt in prompts]
        shown = dict[int, EngineMedia]()
        for i in self._expected.longest_first(prompts):
            if not refusals[i]:
                try:
                    shown[i] = self._shown(prompts[i])
                except ValueError as error:
                    refusals[i] = f"{prompts[i].uid}: {self.backend.name} cannot be shown this prompt: {error}"
        places = [(i, sample) for i in shown for sample in range(sampling.n)]
        requests = [
            Request(
                shown[i].token_ids,
                sampling.of(sample),
                answer_seed(self.seed, step, prompts[i], sample),
                shown[i].media,
                _hashes(prompts[i]),
            )
            for i, sample in places
        ]
        answers = dict(zip(places, self._draw(requests), strict=True))
        groups = [
            Group(prompt, [], why) if why else self._group(prompt, [answers[i, sample] for sample in range(sampling.n)])
            for i, (prompt, why) in enumerate(zip(prompts, refusals, strict=True))
        ]
        self._expected.learn(groups)
        return groups

    def refusals(self, sampling: SamplingParams) -> list[str]:
        """What of a law the engine cannot honour, and why; empty if it can draw by it."""
        cannot = self.backend.cannot.items()
        return [f"{self.backend.name} cannot honour {name}: {why}" for name, why in cannot if _wants(sampling, name)]

    def sleep(self) -> None:
        """Give the engine's memory back until the next weights come."""
        if self.asleep:
            return
        try:
            self.backend.sleep()
        except EngineDied as died:
            self._restart(died)
            self.backend.sleep()
        self.asleep = True

    def close(self) -> None:
        """End the engine."""
        self.backend.close()

    def _hand_over(self) -> Receipt:
        if self.asleep:
            self.backend.wake("weights")
        tensors = list(self.source.tensors())
        start = time.perf_counter()
        received = self.backend.receive(self.version, tensors)
        handed = time.perf_counter() - max((worker.fingerprint_seconds for worker in received), default=0.0)
        sent = {published.names[0]: fingerprint(published.tensor) for published in tensors}
        digest = check_arrival(self.version, sent, received)
        if self.asleep:
            self.backend.wake("cache")
            self.asleep = False
        mean, largest, moved = self.probe.check(
            self.source.logprobs(self.probe.token_ids), self.backend.score(self.probe.token_ids)
        )
        self.receipt = Receipt(
            self.version,
            len(tensors),
            sum(published.bytes for published in tensors),
            digest,
            handed - start,
            time.perf_counter() - handed,
            mean,
            largest,
            moved,
        )
        return self.receipt

    def _restart(self, died: EngineDied) -> Receipt:
        """Start the engine again, with the present weights. Raises what it died of once that was too often."""
        while self.backend.survives and self.restarts < RESTARTS:
            self.restarts += 1
            self.say(f"the engine died and is started again with the weights of step {self.version}: {died}")
            try:
                self.backend.restart()
                self.asleep, self.probe.engine = False, None
                return self._hand_over()
            except EngineDied as again:
                died = again
        raise died

    def _draw(self, requests: Sequence[Request]) -> list[Completion]:
        """An answer to each request; a first token with a law of its own is drawn first, by itself."""
        firsts = [request.law.first_token is not None for request in requests]
        begun = [first_token_of(r) if first else r for r, first in zip(requests, firsts, strict=True)]
        answers = self._complete(begun, whole=[not first for first in firsts])
        going_on = [
            i
            for i, (request, answer) in enumerate(zip(requests, answers, strict=True))
            if firsts[i] and not (answer.error or answer.stopped) and request.law.max_new_tokens > 1
        ]
        rest = self._complete([after_first_token(requests[i], answers[i]) for i in going_on])
        self.progress(sum(firsts) - len(going_on))
        for i, answer in zip(going_on, rest, strict=True):
            answers[i] = replace(
                answers[i],
                token_ids=answers[i].token_ids + answer.token_ids,
                logprobs=answers[i].logprobs + answer.logprobs,
                stopped=answer.stopped,
                error=answer.error,
            )
        return answers

    def _complete(self, requests: Sequence[Request], whole: Sequence[bool] = ()) -> list[Completion]:
        """An answer to each request, by as many engines as it takes. whole: which of them count as progress; () all."""
        answers: dict[int, Completion] = {}
        while len(answers) < len(requests):
            missing = [index for index in range(len(requests)) if index not in answers]

            def done(place: int, answer: Completion, missing: Sequence[int] = missing) -> None:
                answers[missing[place]] = answer
                if not whole or whole[missing[place]]:
                    self.progress(1)

            try:
                self.backend.complete([requests[index] for index in missing], done)
            except EngineDied as died:
                self._restart(died)
        return [answers[index] for index in range(len(requests))]

    def _shown(self, prompt: Prompt) -> EngineMedia:
        """The prompt as the engine takes it. Raises ValueError for media that cannot be read, or without an adapter."""
        if not prompt.media:
            return EngineMedia(prompt.token_ids)
        if self.adapter is None:
            raise ValueError("it has media, which this model does not read")
        return self.adapter.for_engine(prompt)

    def _misread(self, prompt: Prompt, answer: Completion) -> str:
        """How the engine read another prompt than the trainer will learn from; "" if it did not.

        Some engines give placeholders another id than Transformers, in the same places.
        """
        ours, read = prompt.token_ids, answer.prompt_ids
        count = answer.prompt_tokens if read is None else len(read)
        if not prompt.media or self.adapter is None or count is None:
            return ""
        if count == len(ours) and (
            read is None or all(a == b or a in self.adapter.placeholders for a, b in zip(ours, read, strict=True))
        ):
            return ""
        return (
            f"it read {count} tokens where the trainer has {len(ours)}, or others: the processors of both sides differ"
        )

    def _group(self, prompt: Prompt, answers: Sequence[Completion]) -> Group:
        errors = [answer.error or self._misread(prompt, answer) for answer in answers]
        errors = [error for error in errors if error]
        if errors:
            return Group(prompt, [], f"{prompt.uid}: {self.backend.name} cannot answer this prompt: {errors[0]}")
        texts = self.decode([answer.token_ids for answer in answers])
        return Group(
            prompt,
            [
                Rollout(
                    sample,
                    answer.token_ids,
                    answer.logprobs,
                    [True] * len(answer.token_ids),
                    FinishReason.STOP if answer.stopped else FinishReason.LENGTH,
                    text,
                )
                for sample, (answer, text) in enumerate(zip(answers, texts, strict=True))
            ],
        )


def first_token_of(request: Request) -> Request:
    """The request for an answer's first token alone, under its own law (FIRE)."""
    law = replace(
        request.law.at(0), first_token=None, max_new_tokens=1, min_new_tokens=min(1, request.law.min_new_tokens)
    )
    return replace(request, law=law)


def after_first_token(request: Request, first: Completion) -> Request:
    """The request for the rest of an answer whose first token is drawn, with further randomness."""
    law = replace(
        request.law.at(1),
        first_token=None,
        max_new_tokens=request.law.max_new_tokens - 1,
        min_new_tokens=max(0, request.law.min_new_tokens - 1),
    )
    return replace(request, token_ids=(*request.token_ids, *first.token_ids), law=law, seed=request.seed ^ 1)


def _hashes(prompt: Prompt) -> dict[str, list[str]]:
    """Of a prompt's media, by modality."""
    hashes: dict[str, list[str]] = {}
    for media in prompt.media:
        hashes.setdefault(media.modality, []).append(media.sha256)
    return hashes


def _wants(sampling: SamplingParams, name: str) -> bool:
    """Whether any answer asks for a field: it has another value than by default."""
    usual = getattr(SamplingParams(), name)
    return any(getattr(sampling.of(sample), name) != usual for sample in range(sampling.n))
