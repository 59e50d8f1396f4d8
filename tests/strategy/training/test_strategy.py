"""A strategy in one process: micro-batches add up, models step on their own, faults undo themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lightrft_core import Batch, Metrics, TrainingSequence, collate
from lightrft_strategy.language import LanguageActor
from lightrft_strategy.training import OptimiserConfig, TorchStrategy

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = OptimiserConfig(1e-2, total_steps=20, weight_decay=0.1)


class Scorer(nn.Module):
    """A score per sequence from the sum of its tokens' embeddings."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(20, 4)
            self.head = nn.Linear(4, 1)

    def forward(self, batch: Batch) -> Tensor:
        return self.head(self.embedding(batch.response_ids).sum(1))[:, 0]


def batch(*rows: int) -> Batch:
    """One sequence of two tokens per number."""
    numbers = torch.zeros(2)
    return collate([TrainingSequence((1,), [row, row + 1], [True, True], 1.0, numbers + row, numbers) for row in rows])


def squared_error(scores: Tensor, batch: Batch) -> tuple[Tensor, Metrics]:
    """Towards each sequence's number, a sixth of it: a step of six sequences."""
    metrics = Metrics()
    metrics.mean("score", scores)
    return (scores - batch.advantages[::2]).square().sum() / 6, metrics


def weights(strategy: TorchStrategy, model: str) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in strategy.held[model].module.parameters()]


def same_bits(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def strategy(seed: int = 0, config: OptimiserConfig = CONFIG, **options) -> TorchStrategy:
    return TorchStrategy({"policy": Scorer(seed)}, {"policy": config}, **options)


def test_micro_batches_add_up_to_one_big_batch() -> None:
    whole, cut = strategy(), strategy()
    for _ in range(3):
        big = whole.train_step("policy", [batch(1, 2, 3, 4, 5, 6)], squared_error)
        small = cut.train_step("policy", [batch(6), batch(2, 1), batch(5, 3, 4)], squared_error)
        assert small.loss == pytest.approx(big.loss, rel=1e-5)
        assert small.grad_norm == pytest.approx(big.grad_norm, rel=1e-5)
        assert small.metrics.result() == pytest.approx(big.metrics.result(), rel=1e-5)
    for one, other in zip(weights(whole, "policy"), weights(cut, "policy"), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_step_is_that_of_a_plain_loop_over_torchs_adamw() -> None:
    config = OptimiserConfig(1e-2, 20, max_norm=0.5)
    ours, model = strategy(3, config), Scorer(3)
    adam = torch.optim.AdamW(model.parameters(), lr=1e-2, betas=(0.9, 0.95), weight_decay=0)
    for _ in range(3):
        report = ours.train_step("policy", [batch(1, 2, 3), batch(4, 5, 6)], squared_error)
        loss, _ = squared_error(model(batch(1, 2, 3, 4, 5, 6)), batch(1, 2, 3, 4, 5, 6))
        adam.zero_grad()
        loss.backward()
        norm = torch.stack([p.grad.double().square().sum() for p in model.parameters()]).sum().sqrt()
        for parameter in model.parameters():
            parameter.grad *= min(1.0, 0.5 / float(norm))
        adam.step()
        assert report.loss == pytest.approx(loss.item(), rel=1e-5)
        assert report.grad_norm == pytest.approx(float(norm), rel=1e-5)
        assert report.learning_rate == 1e-2
        assert report.fault == ""
    for one, other in zip(weights(ours, "policy"), model.parameters(), strict=True):
        torch.testing.assert_close(one.cpu(), other.detach(), rtol=1e-5, atol=1e-6)


def test_weights_whose_names_begin_so_learn_by_their_own_factor() -> None:
    names = [name for name, _ in Scorer(3).named_parameters()]
    ours, model = strategy(3, OptimiserConfig(1e-2, 20, max_norm=0, factors={names[0]: 0.1, "": 1.0})), Scorer(3)
    slow, *others = model.parameters()
    adam = torch.optim.AdamW(
        [{"params": [slow], "lr": 1e-3}, {"params": others}], lr=1e-2, betas=(0.9, 0.95), weight_decay=0
    )
    for _ in range(3):
        report = ours.train_step("policy", [batch(1, 2, 3)], squared_error)
        adam.zero_grad()
        squared_error(model(batch(1, 2, 3)), batch(1, 2, 3))[0].backward()
        adam.step()
        assert report.learning_rate == 1e-2
    for one, other in zip(weights(ours, "policy"), model.parameters(), strict=True):
        torch.testing.assert_close(one.cpu(), other.detach(), rtol=1e-5, atol=1e-6)


def test_training_lowers_the_loss() -> None:
    ours = strategy()
    losses = [ours.train_step("policy", [batch(1, 2, 3, 4, 5, 6)], squared_error).loss for _ in range(15)]
    assert losses[-1] < 0.8 * losses[0]


def test_forward_gives_the_models_output_without_gradient() -> None:
    ours = strategy()
    (output,) = ours.forward("policy", [batch(1, 2)])
    assert not output.requires_grad
    expected = ours.held["policy"].module(batch(1, 2)) if output.device.type == "cpu" else output
    assert torch.equal(output, expected)


def test_several_models_step_independently() -> None:
    models = {"policy": Scorer(1), "critic": Scorer(2), "reference": Scorer(1)}
    slow = OptimiserConfig(1e-4, 20)
    ours = TorchStrategy(models, {"policy": CONFIG, "critic": slow})
    before = {name: weights(ours, name) for name in models}
    ours.train_step("policy", [batch(1, 2)], squared_error)
    assert not same_bits(weights(ours, "policy"), before["policy"])
    assert same_bits(weights(ours, "critic"), before["critic"])
    ours.train_step("critic", [batch(3)], squared_error)
    ours.train_step("critic", [batch(4)], squared_error)
    policy_alone, critic_alone = strategy(1), strategy(2, slow)
    policy_alone.train_step("policy", [batch(1, 2)], squared_error)
    for row in (3, 4):
        critic_alone.train_step("policy", [batch(row)], squared_error)
    assert same_bits(weights(ours, "policy"), weights(policy_alone, "policy"))
    assert same_bits(weights(ours, "critic"), weights(critic_alone, "policy"))
    assert same_bits(weights(ours, "reference"), before["reference"])
    assert not any(p.requires_grad for p in ours.held["reference"].module.parameters())


@pytest.mark.parametrize("bf16", [False, True])
def test_a_saved_strategy_goes_on_with_the_same_bits(tmp_path: Path, bf16: bool) -> None:
    def fresh(seed: int) -> TorchStrategy:
        config = OptimiserConfig(1e-2, 6, schedule="linear", warmup_ratio=0.4)
        both = {"policy": Scorer(seed), "critic": Scorer(seed + 1)}
        return TorchStrategy(both, {"policy": config, "critic": config}, bf16=bf16)

    def train(ours: TorchStrategy, steps: range) -> None:
        for step in steps:
            ours.train_step("policy", [batch(step, step + 1)], squared_error)
            ours.train_step("critic", [batch(step + 2)], squared_error)
        ours.skip_step("policy")

    through, resumed = fresh(0), fresh(50)
    train(through, range(1, 3))
    through.save(tmp_path)
    resumed.load(tmp_path)
    train(through, range(3, 6))
    train(resumed, range(3, 6))
    for model in ("policy", "critic"):
        assert same_bits(weights(resumed, model), weights(through, model))


def test_a_skipped_step_moves_the_schedule_alone() -> None:
    ours = strategy(0, OptimiserConfig(1.0, 4, schedule="linear"))
    before = weights(ours, "policy")
    ours.skip_step("policy")
    assert same_bits(weights(ours, "policy"), before)
    assert not any(value.any() for name, value in ours.held["policy"].state().items() if name.startswith("adam."))
    assert ours.train_step("policy", [batch(1)], squared_error).learning_rate == 0.75


def test_each_model_counts_its_own_attempts() -> None:
    config = OptimiserConfig(1.0, 4, schedule="linear")
    ours = TorchStrategy({"policy": Scorer(0), "critic": Scorer(1)}, {"policy": config, "critic": config})
    ours.train_step("critic", [batch(1)], squared_error)
    ours.skip_step("critic")
    assert ours.attempts == {"policy": 0, "critic": 2}
    assert ours.train_step("policy", [batch(1)], squared_error).learning_rate == 1.0
    assert ours.train_step("critic", [batch(1)], squared_error).learning_rate == 0.5


def test_a_loss_that_is_not_finite_names_its_micro_batch_and_undoes_the_step() -> None:
    ours = strategy()
    ours.train_step("policy", [batch(1)], squared_error)
    before = weights(ours, "policy")

    def loss(scores: Tensor, part: Batch) -> tuple[Tensor, Metrics]:
        value, metrics = squared_error(scores, part)
        return value * (float("inf") if part.response_ids[0, 0] == 2 else 1.0), metrics

    report = ours.train_step("policy", [batch(1), batch(2), batch(3)], loss)
    assert report.fault == "the loss is inf in micro-batch 2 of 3"
    assert same_bits(weights(ours, "policy"), before)
    assert all(p.grad is None for p in ours.held["policy"].module.parameters())
    assert ours.train_step("policy", [batch(1)], squared_error).fault == ""


def test_one_rank_is_the_whole_world() -> None:
    ours, metrics = strategy(), Metrics()
    metrics.mean("m", [1.0, 2.0])
    assert (ours.rank, ours.world_size) == (0, 1)
    assert ours.gather(("a", "b")) == ["a", "b"]
    assert ours.reduce(metrics) == {"m": 1.5}


@pytest.mark.parametrize("trained", [True, False])
def test_a_model_computing_in_bfloat16_is_the_one_transformers_loads_in_bfloat16(
    tiny_model, tmp_path: Path, trained: bool
) -> None:
    from transformers import AutoModelForCausalLM

    model = tiny_model(4)
    model.save_pretrained(tmp_path)
    reference = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16).to(model.device)
    TorchStrategy({"policy": LanguageActor(model)}, {"policy": CONFIG} if trained else {}, bf16=True)
    ids = torch.arange(250, device=model.device)[None]
    with torch.no_grad():
        ours, theirs = model(input_ids=ids).logits, reference.to(model.device).eval()(input_ids=ids).logits
    assert ours.dtype == torch.bfloat16
    assert torch.equal(ours, theirs)
