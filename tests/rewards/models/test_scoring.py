"""A reward model as a judge: the score of each sample alone, or what was wrong with it."""

from __future__ import annotations

import json
from math import exp
from pathlib import Path

import pytest
import torch

from lightrft_multimodal.tiny.texts import chat_template, learnt_tokenizer
from lightrft_rewards.models.card import RewardCard
from lightrft_rewards.models.loading import save_reward_model
from lightrft_rewards.models.reward_model import RewardModel
from lightrft_rewards.models.scoring import ModelScorer
from lightrft_rewards.models.writing import Writer
from lightrft_rewards.samples import Outcome, Sample

from .planted import tiny_backbone

pytestmark = pytest.mark.usefixtures("one_thread")


def tokenizer():
    made = learnt_tokenizer(("What is 2 + 2? four",), 300, {})
    made.chat_template = chat_template({})
    return made


def a_scorer(*, name: str = "rm", token_budget: int = 60, max_len: int | None = 80, card=None, **model) -> ModelScorer:
    backbone = tiny_backbone(3)
    backbone.resize_token_embeddings(300)
    torch.nn.init.normal_(backbone.get_input_embeddings().weight, generator=torch.Generator().manual_seed(2))
    made = RewardModel(backbone, **model).eval()
    return ModelScorer(made, Writer(tokenizer(), max_len=max_len), card, name=name, token_budget=token_budget)


CALLS = [
    [Sample("four", prompt="What is 2 + 2?"), Sample("it is five, I think", prompt="What is 2 + 2?")],
    [],
    [
        Sample("no", prompt="Is it?"),
        Sample("yes " * 60, prompt="Is it?", name="row:7, sample 1"),
        Sample("", prompt="?"),
    ],
]


def test_every_sample_gets_what_it_would_get_alone() -> None:
    scorer = a_scorer()
    outcomes = scorer.score(CALLS)
    assert [len(call) for call in outcomes] == [2, 0, 3]
    for call, judged in zip(CALLS, outcomes, strict=True):
        for sample, outcome in zip(call, judged, strict=True):
            ((alone,),) = scorer.score([[sample]])
            assert alone.error == outcome.error
            if alone.score is not None:
                assert outcome.score == pytest.approx(alone.score, abs=1e-5)
                assert outcome.parts == {"rm": outcome.score}
                assert outcome.accuracy == pytest.approx(1 / (1 + exp(-outcome.score)))
    scores = [outcome.score for judged in outcomes for outcome in judged]
    assert len({score for score in scores if score is not None}) == 4


def test_what_is_too_long_is_an_error_that_names_it() -> None:
    outcome = a_scorer().score(CALLS)[2][1]
    assert outcome.score is None and outcome.accuracy is None and not outcome.timed_out
    assert outcome.error.startswith("reward model rm, row:7, sample 1: takes ")
    assert "more than --max_len 80" in outcome.error


def test_a_reward_that_is_no_number_is_an_error() -> None:
    scorer = a_scorer()
    torch.nn.init.constant_(scorer.module.score.weight, torch.nan)
    outcome = scorer.score(CALLS)[0][0]
    assert outcome.score is None
    assert "no finite number" in outcome.error


def test_batches_keep_to_the_budget_of_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, seen = a_scorer(token_budget=120), []
    forward = scorer.module.forward
    monkeypatch.setattr(
        scorer.module, "forward", lambda batch: (seen.append(batch.prompt_ids.shape), forward(batch))[1]
    )
    scorer.score([[Sample("x" * length, prompt="?") for length in (1, 30, 2, 40, 3, 5, 60)]])
    assert len(seen) < 7
    assert all(rows == 1 or rows * time <= 120 for rows, time in seen)
    assert [time for _, time in seen] == sorted((time for _, time in seen), reverse=True)


def test_heads_are_parts_and_their_mean_is_the_score() -> None:
    card = RewardCard(heads=("helpful", "safe"), uncertain=True, means={"helpful": 0.4})
    scorer = a_scorer(name="judge", card=card, heads=("helpful", "safe"), uncertain=True)
    assert scorer.parts == ("judge.helpful", "judge.safe")
    outcome = scorer.score(CALLS)[0][0]
    readings = scorer.read([scorer.writer.passage(CALLS[0][0])])[0]
    assert outcome.parts == pytest.approx(
        {"judge.helpful": readings["helpful"].mean, "judge.safe": readings["safe"].mean}, abs=1e-5
    )
    assert outcome.score == pytest.approx(sum(outcome.parts.values()) / 2)
    assert outcome.accuracy == pytest.approx(1 / (1 + exp(0.2 - outcome.score)))
    assert outcome.metrics == pytest.approx(
        {f"judge/{head}_sigma": readings[head].variance ** 0.5 for head in ("helpful", "safe")}, rel=1e-4
    )


def test_accuracy_is_by_the_temperature_the_model_was_taught_at() -> None:
    sample = Sample("four", prompt="What is 2 + 2?")
    for temperature in (0.5, 4.0):
        card = RewardCard(means={"score": 0.3}, temperature=temperature)
        (((outcome,),)) = a_scorer(card=card).score([[sample]])
        assert outcome.accuracy == pytest.approx(1 / (1 + exp(-(outcome.score - 0.3) / temperature)))


def test_a_folder_judges_as_the_model_did(tmp_path: Path) -> None:
    scorer = a_scorer(max_len=None)
    save_reward_model(scorer.module, tokenizer(), tmp_path, RewardCard(max_len=80))
    loaded = ModelScorer.load(tmp_path, token_budget=60)
    strict = ModelScorer.load(tmp_path, max_len=10)
    assert loaded.score(CALLS)[0] == scorer.score(CALLS)[0]
    assert loaded.score(CALLS)[2][1].error and not strict.score(CALLS)[0][0].score
    halved = ModelScorer.load(tmp_path, dtype=torch.bfloat16).score(CALLS)[0][0]
    assert halved.score == pytest.approx(scorer.score(CALLS)[0][0].score, abs=0.1)
    assert halved.score != scorer.score(CALLS)[0][0].score
    json.dumps(halved.score)


def test_the_fingerprint_tells_whatever_judges_otherwise(tmp_path: Path) -> None:
    same = [a_scorer().fingerprint(), a_scorer(token_budget=999).fingerprint()]
    assert len({*same}) == 1
    other_weights, other_text, other_precision = a_scorer(), a_scorer(), a_scorer()
    with torch.no_grad():
        other_weights.module.model.norm.weight[0] += 1e-3
    other_text.writer.tokenizer.chat_template += " "
    other_precision.module.to(torch.bfloat16)
    others = [
        other_weights,
        other_text,
        other_precision,
        a_scorer(name="two"),
        a_scorer(max_len=81),
        a_scorer(card=RewardCard(means={"score": 0.5})),
    ]
    assert len({*same, *(scorer.fingerprint() for scorer in others)}) == 7


def test_nothing_is_judged_of_nothing() -> None:
    assert a_scorer().score([]) == []
    assert a_scorer().score([[], []]) == [[], []]
    assert isinstance(a_scorer().score([[Sample("a", prompt="b")]])[0][0], Outcome)
