"""A reward model's scores: those of each passage alone, whatever is padded and whatever stands beside it."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightrft_rewards.models.batches import ContestBatch, collate_contests
from lightrft_rewards.models.passage import Contest, Passage
from lightrft_rewards.models.reward_model import POOLINGS, RewardModel

from .planted import VOCABULARY, in_float64, scored, tiny_backbone

pytestmark = pytest.mark.usefixtures("one_thread")

PASSAGES = st.lists(
    st.lists(st.integers(0, VOCABULARY - 1), min_size=1, max_size=20).map(tuple), min_size=1, max_size=6
)


def a_model(pooling: str = "last", **settings) -> RewardModel:
    """In float64, with a query that prefers some tokens to others."""
    model = in_float64(RewardModel(tiny_backbone(3), pooling=pooling, **settings))
    if model.query is not None:
        torch.nn.init.normal_(model.query.weight, std=2.0, generator=torch.Generator().manual_seed(5))
    return model.requires_grad_(False)


MODELS = {pooling: a_model(pooling, heads=("helpful", "safe")) for pooling in POOLINGS}


def batch_of(passages: list[tuple[int, ...]]) -> ContestBatch:
    return collate_contests([Contest("", tuple(Passage(ids) for ids in passages), {})], ("helpful", "safe"))


def padded_more(batch: ContestBatch, *, left: int, right: int, filler: int) -> ContestBatch:
    """The same with more padding on either side; where a row ends early, its padding is moved to the right."""
    rows, masks = [], []
    width = batch.prompt_ids.shape[1] + left + right
    for ids, mask in zip(batch.prompt_ids, batch.prompt_mask, strict=True):
        real = ids[mask]
        before = width - right - len(real) if right == 0 else left
        row, kept = torch.full((width,), filler), torch.zeros(width, dtype=torch.bool)
        row[before : before + len(real)], kept[before : before + len(real)] = real, True
        rows.append(row)
        masks.append(kept)
    return replace(batch, prompt_ids=torch.stack(rows), prompt_mask=torch.stack(masks))


@pytest.mark.parametrize("pooling", POOLINGS)
@given(
    passages=PASSAGES, left=st.integers(0, 9), right=st.integers(0, 9), filler=st.integers(0, VOCABULARY - 1), seed=...
)
@settings(max_examples=20)
def test_no_padding_and_no_batch_mate_changes_a_score(
    pooling: str, passages: list[tuple[int, ...]], left: int, right: int, filler: int, seed: int
) -> None:
    model = MODELS[pooling]
    alone = torch.cat([scored(model, batch_of([passage])) for passage in passages])
    together = batch_of(passages)
    assert (scored(model, together) - alone).abs().max() < 1e-9
    assert (scored(model, padded_more(together, left=left, right=right, filler=filler)) - alone).abs().max() < 1e-9
    order = Random(seed).sample(range(len(passages)), len(passages))
    assert (scored(model, batch_of([passages[place] for place in order])) - alone[order]).abs().max() < 1e-9


def expected(model: RewardModel, hidden: torch.Tensor) -> torch.Tensor:
    """[heads] of the hidden states [time, dim] of one passage, by the definition of each pooling."""
    match model.pooling:
        case "last":
            pooled = hidden[-1]
        case "mean":
            pooled = hidden.mean(0)
        case _:
            assert model.query is not None
            weights = (hidden @ model.query.weight / hidden.shape[1] ** 0.5).exp()
            pooled = (weights[:, None] * hidden).sum(0) / weights.sum()
    return model.score.weight @ pooled


@pytest.mark.parametrize("pooling", POOLINGS)
def test_each_pooling_is_what_it_says(pooling: str) -> None:
    model = MODELS[pooling]
    passages = [(3, 1, 4, 1, 5), (9, 2)]
    found = scored(model, batch_of(passages))
    for row, ids in zip(found, passages, strict=True):
        hidden = model.model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        assert (row - expected(model, hidden)).abs().max() < 1e-9


def test_steps_are_scored_at_their_last_tokens() -> None:
    model = MODELS["last"]
    whole = (3, 1, 4, 1, 5, 9, 2, 6)
    steps = Contest("", (Passage(whole, steps=(2, 5, 7)), Passage(whole[:4], steps=(3,))), {})
    batch = collate_contests([steps], ("helpful", "safe"), by_steps=True)
    alone = [scored(model, batch_of([whole[: end + 1]])) for end in (2, 5, 7)] + [scored(model, batch_of([whole[:4]]))]
    assert (scored(model, batch) - torch.cat(alone)).abs().max() < 1e-9
    moved = padded_more(batch, left=2, right=3, filler=8)
    assert (scored(model, moved) - torch.cat(alone)).abs().max() < 1e-9


@pytest.mark.parametrize("layers", [1, 2, 3, -1])
def test_a_probing_layer_is_a_model_of_so_many_layers(layers: int) -> None:
    whole = tiny_backbone(3, layers=3)
    smaller = tiny_backbone(3, layers=3 if layers == -1 else layers)
    names = {name for name, _ in smaller.named_parameters()}
    smaller.load_state_dict({name: weight for name, weight in whole.state_dict().items() if name in names})
    ids = torch.tensor([[3, 1, 4, 1, 5]])
    last = smaller(input_ids=ids, output_hidden_states=True).hidden_states[-1][0, -1]
    model = RewardModel(whole, probing_layer=layers)
    torch.testing.assert_close(scored(model, batch_of([tuple(ids[0].tolist())]))[0], model.score(last[None])[0])
    assert model.model.config.num_hidden_layers == smaller.config.num_hidden_layers == len(model.model.layers)


@pytest.mark.parametrize("layer", [0, 4, -2])
def test_a_probing_layer_that_is_not_there_is_refused(layer: int) -> None:
    with pytest.raises(ValueError, match="layers 1 to 3; -1 means all"):
        RewardModel(tiny_backbone(layers=3), probing_layer=layer)


def test_kinds_of_layers_are_dropped_with_them() -> None:
    from transformers import AutoModelForCausalLM, Gemma2Config

    config = Gemma2Config(
        vocab_size=50, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4, head_dim=8,
        num_key_value_heads=2, sliding_window=4,
    )  # fmt: skip
    model = RewardModel(AutoModelForCausalLM.from_config(config).eval(), probing_layer=3)
    assert len(model.model.config.layer_types) == 3
    assert scored(model, batch_of([(1, 2, 3, 4, 5, 6, 7), (1, 2)])).isfinite().all()


def test_uncertain_heads_have_a_mean_and_a_log_variance_each() -> None:
    model = a_model("mean", heads=("helpful", "safe"), uncertain=True)
    batch = batch_of([(3, 1, 4), (2, 7)])
    output = model(batch)
    certain = a_model("mean", heads=("helpful", "safe"))
    certain.score.weight = torch.nn.Parameter(model.score.weight[0::2])
    torch.testing.assert_close(output.means, certain(batch).means)
    certain.score.weight = torch.nn.Parameter(model.score.weight[1::2])
    torch.testing.assert_close(output.log_variances, certain(batch).means)


@pytest.mark.parametrize("settings", [{"heads": ()}, {"heads": ("a", "a")}, {"heads": ("",)}, {"pooling": "max"}])
def test_heads_and_poolings_that_cannot_be_are_refused(settings) -> None:
    with pytest.raises(ValueError, match=r"must have names|there are last, mean, attention"):
        RewardModel(tiny_backbone(), **settings)
