"""A language model as a critic: one value for the state before each loss token, learnt through the whole model."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lightrft_core import ALGORITHMS, Batch, CriticOutput, TrainingSequence, collate
from lightrft_strategy.language import LanguageCritic
from lightrft_strategy.training import TorchStrategy
from lightrft_strategy.training.optimiser import OptimiserConfig

pytestmark = pytest.mark.usefixtures("one_thread")


def a_batch(*, returns: float = 1.0) -> Batch:
    """Five answers to two prompts; the tokens of each carry a return of their own."""
    rng = random.Random(4)
    sequences = []
    for prompt_length, lengths in ((3, [4, 1, 6]), (7, [2, 5])):
        prompt = tuple(rng.randrange(300) for _ in range(prompt_length))
        for length in lengths:
            answer = [rng.randrange(300) for _ in range(length)]
            zeros = torch.zeros(length)
            sequence = TrainingSequence(prompt, answer, [True] * length, 1 / 18, zeros, zeros)
            sequence.old_values, sequence.returns = zeros, zeros + returns * len(sequences)
            sequences.append(sequence)
    return collate(sequences)


def whole_sequences(critic: LanguageCritic, batch: Batch) -> torch.Tensor:
    """[tokens] each sequence alone through the model, without a cache."""
    values = []
    for row, prompt in enumerate(batch.prompt_index.tolist()):
        prompt_ids = batch.prompt_ids[prompt][batch.prompt_mask[prompt]]
        answer = batch.response_ids[row][batch.loss_mask[row]]
        hidden = critic.model(input_ids=torch.cat([prompt_ids, answer])[None]).last_hidden_state[0]
        values.append(critic.value_head(hidden[len(prompt_ids) - 1 : -1])[:, 0])
    return torch.cat(values)


def test_values_are_those_of_each_sequence_alone(tiny_model) -> None:
    critic = LanguageCritic(tiny_model(3))
    torch.nn.init.normal_(critic.value_head.weight, generator=torch.Generator().manual_seed(1))
    batch = a_batch()
    torch.testing.assert_close(critic(batch).values, whole_sequences(critic, batch), atol=1e-4, rtol=1e-4)


def test_a_fresh_critic_expects_nothing(tiny_model) -> None:
    values = LanguageCritic(tiny_model(3))(a_batch()).values
    assert values.shape == (18,)
    assert torch.equal(values, torch.zeros(18))


@pytest.mark.parametrize("bf16", [False, True])
def test_a_critic_learns_returns_through_the_strategy(tiny_model, bf16: bool) -> None:
    ppo = replace(ALGORITHMS["ppo"], value_clip=1e9)
    strategy = TorchStrategy(
        {"critic": LanguageCritic(tiny_model(3))}, {"critic": OptimiserConfig(1e-3, 40)}, bf16=bf16
    )
    losses = [strategy.train_step("critic", [a_batch()], ppo.value_loss).loss for _ in range(40)]
    assert losses[-1] < 0.15 * losses[0]
    output: CriticOutput = strategy.forward("critic", [a_batch()])[0]
    assert output.values.dtype == torch.float32


def test_a_saved_critic_goes_on_with_the_same_bits(tiny_model, tmp_path: Path) -> None:
    def fresh() -> TorchStrategy:
        return TorchStrategy({"critic": LanguageCritic(tiny_model(3))}, {"critic": OptimiserConfig(1e-3, 40)})

    one, other, loss = fresh(), fresh(), ALGORITHMS["ppo"].value_loss
    one.train_step("critic", [a_batch()], loss)
    one.save(tmp_path)
    other.load(tmp_path)
    for strategy in (one, other):
        strategy.train_step("critic", [a_batch(returns=2.0)], loss)
    assert torch.equal(one.forward("critic", [a_batch()])[0].values, other.forward("critic", [a_batch()])[0].values)
