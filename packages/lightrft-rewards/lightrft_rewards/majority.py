"""Rewards without labels: TTRL's majority vote (Zuo et al. 2025, arXiv 2504.16084)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from lightrft_core import Group, Verdict, majority_vote
from lightrft_rewards.errors import LabelError, RewardSetupError
from lightrft_rewards.rules import RULES, Rule, find_rule, rule_names


class MajorityVote:
    """Pays the answers of a group that agree with most of it: LightRFT core's Reward protocol, without workers.

    It is a pure function of the answers, so that a resumed run needs no journal of it. Routes play no part.
    """

    def __init__(self, rule: str) -> None:
        """rule: the name of the rule that reads the answers (such as number, or a foreign one with an extract).

        Raises RewardSetupError if there is no such rule or it reads no answer that could be counted.
        """
        self._rule, self._extract = _answer_rule(rule)

    def score(self, groups: Sequence[Group], *, step: int) -> list[list[Verdict]]:
        """One verdict per rollout, nested as the groups are: 1 for the answer most of the group give (the first seen
        wins a tie), 0 for another or an unreadable one. The step plays no part.

        Metrics: majority_share, of the group that gave that answer; majority_right, where the prompt has a label that
        the rule can compare outside a worker (number, gsm8k, multiple_choice): whether the group's majority is right,
        1 or 0.
        """
        return [self._judge(group) for group in groups]

    def close(self) -> None:
        """There is nothing to end; here so that it can stand where a Judge does."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _judge(self, group: Group) -> list[Verdict]:
        answers = [self._extract(rollout.text) for rollout in group.rollouts]
        elected = majority_vote(answers)
        scores = [float(elected is not None and answer == elected) for answer in answers]
        metrics = {"majority_share": sum(scores) / max(1, len(scores))}
        spokesman = "" if elected is None else group.rollouts[answers.index(elected)].text
        right = self._is_right(spokesman, group.prompt.label)
        if right is not None:
            metrics["majority_right"] = right
        return [Verdict(score=score, accuracy=score, parts={"majority": score}, metrics=metrics) for score in scores]

    def _is_right(self, response: str, label: object) -> float | None:
        """What the rule says of a response of the majority; None if it needs a worker, or cannot read the label."""
        if not self._rule.in_process:
            return None
        try:
            return self._rule.score(response, label)
        except LabelError:
            return None


def _answer_rule(name: str) -> tuple[Rule, Callable[[str], str | None]]:
    rule = find_rule(name) if name in rule_names() else None
    if rule is None or rule.extract is None:
        able = ", ".join(sorted(known for known, built_in in RULES.items() if built_in.extract))
        why = "there is no rule" if rule is None else "a majority vote counts answers, which are not read by the rule"
        raise RewardSetupError(f"{why} {name!r}; rules that can vote: {able}")
    return rule, rule.extract
