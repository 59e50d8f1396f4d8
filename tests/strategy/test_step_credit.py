"""Each step's reward comes to the policy's token that writes its last letter."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lightrft_core import FinishReason, Group, Prompt, Rollout, Verdict
from lightrft_multimodal.tiny.texts import learnt_tokenizer
from lightrft_strategy.step_credit import StepCredit, step_token

TOKENIZER = learnt_tokenizer(("First we add 2 and 2. Then we are done.",) * 3, 330, {})


def a_rollout(text: str) -> Rollout:
    ids = [*TOKENIZER(text)["input_ids"], TOKENIZER.eos_token_id]
    return Rollout(0, ids, [0.0] * len(ids), [True] * len(ids), FinishReason.STOP, text)


@dataclass
class Fixed:
    """A Reward that always says the same."""

    verdicts: list[Verdict]

    def score(self, groups, *, step: int) -> list[list[Verdict]]:
        return [self.verdicts for _ in groups]


@given(text=st.text(st.sampled_from("aé 2.\n😀First we add"), min_size=1, max_size=30), place=st.integers(0, 10**6))
def test_it_is_the_first_token_by_which_the_step_is_written(text: str, place: int) -> None:
    rollout, end = a_rollout(text), place % len(text) + 1
    token = step_token(TOKENIZER, rollout, end)
    assert TOKENIZER.decode(rollout.token_ids[: token + 1], skip_special_tokens=True)[:end] == text[:end]
    assert token == 0 or TOKENIZER.decode(rollout.token_ids[:token])[:end] != text[:end]


def test_verdicts_get_credit_for_their_steps_alone() -> None:
    text = "First we add.\n\nThen done."
    steps = ((13, 0.5), (len(text), -1.0))
    verdicts = [Verdict(0.25, steps=steps), Verdict(1.0), Verdict(None, error="broke")]
    group = Group(Prompt("row", (), "", (1,)), [a_rollout(text)] * 3)
    ((first, second, third),) = StepCredit(Fixed(verdicts), TOKENIZER, weight=2.0).score([group], step=1)
    assert (first.score, first.steps) == (0.25, steps)
    assert [reward for _, reward in first.credit] == [1.0, -2.0]
    tokens = [token for token, _ in first.credit]
    written = [TOKENIZER.decode(group.rollouts[0].token_ids[: token + 1]) for token in tokens]
    assert written[0].startswith("First we add.") and written[0].strip() == "First we add."
    assert written[1] == text
    assert (second, third) == (verdicts[1], verdicts[2])


@pytest.mark.parametrize("end", [0, 99])
def test_steps_of_another_text_are_refused(end: int) -> None:
    with pytest.raises(ValueError, match=f"behind {end} letters of an answer of 5"):
        step_token(TOKENIZER, a_rollout("First"), end)
