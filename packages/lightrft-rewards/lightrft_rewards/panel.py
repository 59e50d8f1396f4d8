"""Several judges as one: rules, reward models and services, added up by weight for each route, behind gates."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import TypeAlias

from lightrft_rewards.combination import RewardSpec, combine, describe_route, spec_for
from lightrft_rewards.gates import Gate, capped
from lightrft_rewards.rules import find_rule
from lightrft_rewards.samples import Outcome, Sample
from lightrft_rewards.scorer import Scorer

RULES = "rules"
"""What the scorer of rules is called among the others: it judges every part that bears no other's name."""

Rounds: TypeAlias = Callable[[Sequence[str]], Iterable[Sequence[str]]]
"""The names of scorers that have something to judge -> rounds; those of a round judge at the same time."""


def all_at_once(names: Sequence[str]) -> Iterable[Sequence[str]]:
    """One round."""
    return [names]


@dataclass(frozen=True)
class _Asked:
    """What one scorer says of the samples it was asked about. seconds: for each of them, on average."""

    outcomes: Mapping[tuple[int, int], Outcome]
    seconds: float


class Panel:
    """A Scorer over others: each judges the samples whose reward names a part of it, all at the same time.

    scorers: name -> scorer. A part is named as its scorer is (``rm``), or SCORER.PART where a scorer gives several
    (``rm.safe``); every other part is a rule, judged by the scorer named "rules", whose own weights play no part.
    routes: rewards by route, as for parse_routes. gates: hold answers back, whatever their route; their parts are
    asked for even where no weight names them. rounds: which scorers judge together, the models on their devices.
    closing: called when it is closed, after all scorers. asking: entered with a scorer's name while it judges, in the
    thread that waits for it.
    Steps are those of the first scorer that judged any, as it judged them.
    Metrics: those of the scorers, and of each NAME/seconds, for a sample, and NAME/failed, the share.
    """

    def __init__(
        self,
        scorers: Mapping[str, Scorer],
        routes: Mapping[str, RewardSpec],
        *,
        gates: Sequence[Gate] = (),
        rounds: Rounds = all_at_once,
        closing: Callable[[], None] = lambda: None,
        asking: Callable[[str], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.scorers, self.gates, self.rounds, self._closing = dict(scorers), tuple(gates), rounds, closing
        self._asking = asking
        guarded = {gate.part: 0.0 for gate in gates}
        self.routes = {route: RewardSpec(guarded | dict(spec.weights)) for route, spec in routes.items()}
        rules = {part for spec in self.routes.values() for part in spec.weights if self._owner(part) == RULES}
        self._accuracy_rules = {name for name in rules if find_rule(name).measures_accuracy}
        self._threads = ThreadPoolExecutor(max(1, len(scorers)), thread_name_prefix="judge")

    def score(self, calls: Sequence[Sequence[Sample]]) -> list[list[Outcome]]:
        """One outcome per sample; a sample fails if any of its parts does, by the first failure in the spec's order."""
        samples = {(i, j): sample for i, call in enumerate(calls) for j, sample in enumerate(call)}
        specs = {place: spec_for(self.routes, sample.route) for place, sample in samples.items()}
        wanted: dict[str, list[tuple[int, int]]] = {}
        for place, spec in specs.items():
            for name in dict.fromkeys(self._owner(part) for part in spec.weights) if spec else ():
                wanted.setdefault(name, []).append(place)
        asked: dict[str, _Asked] = {}
        for names in self.rounds(list(wanted)):
            pending = {name: self._threads.submit(self._ask, name, wanted[name], samples) for name in names}
            asked |= {name: future.result() for name, future in pending.items()}
        return [
            [self._outcome(sample, specs[i, j], (i, j), asked) for j, sample in enumerate(call)]
            for i, call in enumerate(calls)
        ]

    def measuring(self) -> Scorer:
        """Who says whether an answer is right: the rules alone, where each route has one that does, else everybody.

        What models think of an answer does not change it, and some need others to compare it with.
        """
        known = all(self._accuracy_rules & spec.weights.keys() for spec in self.routes.values())
        return self.scorers[RULES] if known else self

    def fingerprint(self) -> str:
        """Differs when a scorer, a weight or a gate does."""
        content = {
            "scorers": {name: scorer.fingerprint() for name, scorer in self.scorers.items()},
            "routes": {route: str(spec) for route, spec in self.routes.items()},
            "gates": [str(gate) for gate in self.gates],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def describe(self, sample: Sample) -> str:
        """The reward of the sample's route."""
        return f"the reward {spec_for(self.routes, sample.route)} on {sample.name}"

    def close(self) -> None:
        """Close all scorers."""
        self._threads.shutdown()
        for scorer in self.scorers.values():
            scorer.close()
        self._closing()

    def _owner(self, part: str) -> str:
        name = part.partition(".")[0]
        return name if name in self.scorers else RULES

    def _ask(self, name: str, places: Sequence[tuple[int, int]], samples: Mapping[tuple[int, int], Sample]) -> _Asked:
        calls: dict[int, list[tuple[int, int]]] = {}
        for place in places:
            calls.setdefault(place[0], []).append(place)
        began = time.perf_counter()
        with self._asking(name):
            judged = self.scorers[name].score([[samples[place] for place in call] for call in calls.values()])
        seconds = (time.perf_counter() - began) / len(places)
        pairs = zip(calls.values(), judged, strict=True)
        return _Asked({place: outcome for c, o in pairs for place, outcome in zip(c, o, strict=True)}, seconds)

    def _outcome(
        self, sample: Sample, spec: RewardSpec | None, place: tuple[int, int], asked: Mapping[str, _Asked]
    ) -> Outcome:
        if spec is None:
            known = ", ".join(map(describe_route, self.routes))
            route = describe_route(sample.route)
            return Outcome(error=f"{sample.name} has the route {route}, which has no reward; known routes: {known}")
        own = {name: asked[name].outcomes[place] for name in dict.fromkeys(map(self._owner, spec.weights))}
        metrics = {metric: value for outcome in own.values() for metric, value in outcome.metrics.items()}
        metrics |= {f"{name}/seconds": asked[name].seconds for name in own}
        metrics |= {f"{name}/failed": float(outcome.score is None) for name, outcome in own.items()}
        notes = {part: note for outcome in own.values() for part, note in outcome.notes.items()}
        for outcome in own.values():
            if outcome.score is None:
                return replace(outcome, metrics=metrics, notes=notes)
        parts = {part: own[self._owner(part)].parts.get(part) for part in spec.weights}
        missing = [part for part, value in parts.items() if value is None]
        if missing:
            error = f"{sample.name}: nothing was said of {', '.join(missing)}"
            return Outcome(error=error, metrics=metrics, notes=notes)
        said = {part: value for part, value in parts.items() if value is not None}
        whole = combine(spec, said, self._accuracy_rules)
        steps = next((outcome.steps for outcome in own.values() if outcome.steps), ())
        score = capped(whole.score or 0.0, said, self.gates)
        return replace(whole, score=score, metrics=metrics, steps=steps, notes=notes)
