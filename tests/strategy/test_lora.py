"""Adapters: what they compute, that nothing else is trained, that they leave, are merged and resume without a trace."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from lightrft_core import Batch, Metrics, PolicyOutput, Prompt, SamplingParams, TrainingSequence, collate
from lightrft_strategy.engines.embedded import EmbeddedEngine
from lightrft_strategy.engines.sync.published import ModelWeights
from lightrft_strategy.language import LanguageActor, LanguageCritic
from lightrft_strategy.lora import AdapterOff, adapter_off, add_adapter, merged, read_adapter
from lightrft_strategy.training import OptimiserConfig, TorchStrategy

pytestmark = pytest.mark.usefixtures("one_thread")

IDS = torch.arange(40).view(2, 20) * 7 % 300
CONFIG = OptimiserConfig(1e-2, total_steps=20)


def adapted(tiny_model, *, seed: int = 1, targets: tuple[str, ...] = (), learnt: bool = True, **settings: Any) -> Any:
    """A model with an adapter of rank 4; learnt: B is not zero any more."""
    model = tiny_model(**settings)
    add_adapter(model, rank=4, alpha=6, target_modules=targets, seed=seed)
    if learnt:
        generator = torch.Generator().manual_seed(5)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data.normal_(0, 0.1, generator=generator)
    return model


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def batch(*answers: int) -> Batch:
    numbers = torch.zeros(4)
    rows = [[answer, answer + 1, 3, answer + 5] for answer in answers]
    return collate([TrainingSequence((1, 2, 3), row, [True] * 4, 1.0, numbers + 1.0, numbers) for row in rows])


def likelier(output: PolicyOutput, batch: Batch) -> tuple[Tensor, Metrics]:
    return -(output.logprobs * batch.advantages).mean(), Metrics()


def policy(model: Any, **options: Any) -> TorchStrategy:
    return TorchStrategy({"policy": LanguageActor(model)}, {"policy": CONFIG}, **options)


def learn(strategy: TorchStrategy, steps: range) -> list[float]:
    reports = [strategy.train_step("policy", [batch(10, 20), batch(30)], likelier) for _ in steps]
    return [report.loss for report in reports]


def bits(tensors: dict[str, Tensor]) -> dict[str, list[Any]]:
    return {name: tensor.detach().cpu().tolist() for name, tensor in tensors.items()}


def test_a_fresh_adapter_changes_no_bit_and_alone_can_be_trained(tiny_model) -> None:
    model = adapted(tiny_model, learnt=False)
    assert torch.equal(logits(model), logits(tiny_model()))
    layers = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert all(".lora_A." in name or ".lora_B." in name for name in trained)
    assert {name.split(".lora_")[0].rpartition(".")[2] for name in trained} == layers
    assert len(trained) == 2 * 7 * 2, "two matrices, seven layers, two blocks"


@given(rank=st.integers(1, 9), alpha=st.floats(0.5, 64), seed=st.integers(0, 1000))
def test_an_adapted_layer_adds_alpha_over_rank_times_b_a(tiny_model, rank: int, alpha: float, seed: int) -> None:
    model = tiny_model().double()
    plain = model.model.layers[1].mlp.up_proj.weight.clone()
    add_adapter(model, rank=rank, alpha=alpha, seed=seed)
    layer = model.model.layers[1].mlp.up_proj
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    b.data.normal_(generator=torch.Generator().manual_seed(seed))
    x = torch.linspace(-1, 1, 64, dtype=torch.float64)
    torch.testing.assert_close(layer(x), plain @ x + alpha / rank * (b @ (a @ x)), rtol=1e-12, atol=1e-12)
    assert (a.shape, b.shape) == ((rank, 64), (96, rank))


def test_an_adapter_is_drawn_by_its_seed_alone_and_draws_from_nobody_elses_numbers(tiny_model) -> None:
    def drawn(seed: int) -> dict[str, list[Any]]:
        model = adapted(tiny_model, seed=seed, learnt=False)
        return bits({name: value for name, value in model.state_dict().items() if "lora_A" in name})

    torch.manual_seed(3)
    one, number = drawn(1), torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(torch.rand(1), number)
    assert one == drawn(1) != drawn(2)


def test_only_the_named_layers_get_an_adapter(tiny_model) -> None:
    model = adapted(tiny_model, targets=("q_proj", "layers.1.mlp.down_proj"))
    trained = {name.split(".lora_")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}
    layers = ("layers.0.self_attn.q_proj", "layers.1.self_attn.q_proj", "layers.1.mlp.down_proj")
    assert trained == {f"model.{layer}" for layer in layers}


@pytest.mark.parametrize("target", ["no_proj", "lm_head", "embed_tokens", "self_attn", "roj"])
def test_a_name_of_no_inner_linear_layer_is_told_with_those_there_are(tiny_model, target: str) -> None:
    with pytest.raises(
        ValueError, match=f"^{target}: the model has no such linear layer; .* are down_proj, gate_proj,"
    ):
        add_adapter(tiny_model(), rank=2, alpha=2, target_modules=("q_proj", target))


@pytest.mark.parametrize("bf16", [False, True])
def test_training_changes_the_adapter_alone(tiny_model, bf16: bool) -> None:
    model = adapted(tiny_model, learnt=False)
    strategy = policy(model, bf16=bf16)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    losses = learn(strategy, range(8))
    assert losses[-1] < losses[0] - 1
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {name for name in before if ".lora_A." in name or ".lora_B." in name}
    masters = [tensor for name, tensor in strategy.held["policy"].state().items() if name.startswith("master.")]
    assert len(masters) == 28
    assert {tensor.dtype for tensor in masters} == {torch.float32}


def test_the_reference_is_the_model_before_the_adapter_and_holds_nothing_itself(tiny_model) -> None:
    model = adapted(tiny_model, learnt=False)
    actor = LanguageActor(model, 0.7)
    models = {"policy": actor, "reference": AdapterOff(actor)}
    strategy = TorchStrategy(models, {"policy": CONFIG})
    learn(strategy, range(3))
    (found,), (trained,) = (strategy.forward(name, [batch(10, 40)]) for name in ("reference", "policy"))
    with torch.no_grad():
        expected = LanguageActor(tiny_model().to(model.device), 0.7)(batch(10, 40))
    assert torch.equal(found.logprobs, expected.logprobs)
    assert torch.equal(found.entropy, expected.entropy)
    assert not torch.allclose(trained.logprobs, expected.logprobs, atol=1e-2)
    assert [*models["reference"].parameters()] == []
    losses = learn(strategy, range(3))
    assert losses[-1] < losses[0]
    assert list(strategy.held["reference"].state()) == []


def test_asking_the_reference_on_the_way_changes_no_bit_of_the_training(tiny_model) -> None:
    def trained(ask: bool) -> dict[str, list[Any]]:
        actor = LanguageActor(adapted(tiny_model, learnt=False))
        strategy = TorchStrategy({"policy": actor, "reference": AdapterOff(actor)}, {"policy": CONFIG})
        for step in range(3):
            if ask:
                strategy.forward("reference", [batch(10)])
            learn(strategy, range(step, step + 1))
        return bits(strategy.held["policy"].state())

    assert trained(True) == trained(False)


def test_an_adapter_comes_back_even_after_an_error_and_what_is_trained_never_changes(tiny_model) -> None:
    model = adapted(tiny_model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("layers.0" not in name and "lora_" in name)

    def flags() -> list[bool]:
        return [parameter.requires_grad for parameter in model.parameters()]

    before, whole = flags(), logits(model)
    with pytest.raises(ZeroDivisionError), adapter_off(model):
        assert torch.equal(logits(model), logits(tiny_model()))
        assert flags() == before
        1 / 0  # noqa: B018
    assert flags() == before
    assert torch.equal(logits(model), whole)


@pytest.mark.parametrize("bf16", [False, True])
def test_a_resumed_adapter_goes_on_with_the_same_bits_and_its_checkpoint_holds_nothing_else(
    tiny_model, tmp_path: Path, bf16: bool
) -> None:
    through = policy(adapted(tiny_model, learnt=False), bf16=bf16)
    learn(through, range(2))
    through.save(tmp_path)
    resumed = policy(adapted(tiny_model, seed=99), bf16=bf16)
    resumed.load(tmp_path)
    assert learn(through, range(3)) == learn(resumed, range(3))
    assert bits(through.held["policy"].state()) == bits(resumed.held["policy"].state())
    stored = [name for path in tmp_path.rglob("*.safetensors") for name in load_file(path)]
    assert len(stored) == 4 * 28, "master, step and two moments of each matrix"
    assert all(".lora_" in name for name in stored)


def test_gradient_checkpointing_changes_no_gradient_of_the_adapter(tiny_model) -> None:
    def gradients(checkpointing: bool) -> dict[str, Tensor]:
        model = adapted(tiny_model).double()
        if checkpointing:
            model.gradient_checkpointing_enable()
            model.train()
        loss, _ = likelier(LanguageActor(model)(batch(10, 20)), batch(10, 20))
        loss.backward()
        return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}

    plain, checkpointed = gradients(False), gradients(True)
    assert len(plain) == 28
    torch.testing.assert_close(checkpointed, plain, rtol=1e-4, atol=1e-6)
    assert min(float(grad.abs().max()) for grad in plain.values()) > 0


def test_a_critic_learns_its_adapter_and_its_head_alone(tiny_model) -> None:
    critic = LanguageCritic(adapted(tiny_model, learnt=False))
    trained = {name for name, parameter in critic.named_parameters() if parameter.requires_grad}
    assert {"value_head.weight", "value_head.bias"} < trained
    assert all(".lora_" in name for name in trained - {"value_head.weight", "value_head.bias"})


def test_the_embedded_engine_samples_with_the_adapter(tiny_model, tmp_path: Path) -> None:
    def answers(model: Any) -> list[tuple[list[int], list[float]]]:
        engine = EmbeddedEngine(model, lambda rows: [""] * len(rows), eos_token_ids=[7], seed=3)
        prompts = [Prompt(f"{i}", (), "", (i + 1, 2 * i + 3)) for i in range(3)]
        groups = engine.generate(prompts, SamplingParams(temperature=1.0, max_new_tokens=12, n=2), step=1)
        return [(rollout.token_ids, rollout.logprobs) for group in groups for rollout in group.rollouts]

    model = adapted(tiny_model, initializer_range=0.15)
    found = answers(model)
    model.save_pretrained(tmp_path)
    expected = answers(merged(tiny_model(initializer_range=0.15), tmp_path))
    assert [ids for ids, _ in found] == [ids for ids, _ in expected]
    for (_, one), (_, other) in zip(found, expected, strict=True):
        assert one == pytest.approx(other, abs=1e-4)
    assert [ids for ids, _ in found] != [ids for ids, _ in answers(tiny_model(initializer_range=0.15))]


SHAPES = [
    {"family": "Llama", "tie_word_embeddings": True},
    {"family": "Qwen2"},
    {"family": "Llama", "targets": ("v_proj", "layers.0.mlp.up_proj")},
]


@pytest.mark.parametrize("shape", SHAPES, ids=["tied", "with biases", "named layers"])
def test_a_merged_model_is_the_adapted_one_in_float64(tiny_model, tmp_path: Path, shape: dict[str, Any]) -> None:
    model = adapted(tiny_model, **shape).double()
    model.save_pretrained(tmp_path)
    shape = {name: value for name, value in shape.items() if name != "targets"}
    plain = merged(tiny_model(**shape).double(), tmp_path)
    assert type(plain) is type(tiny_model(**shape))
    assert list(plain.state_dict()) == list(tiny_model(**shape).state_dict())
    assert (logits(plain) - logits(model)).abs().max() < 1e-10
    assert (logits(plain) - logits(tiny_model(**shape).double())).abs().max() > 0.1


def test_what_an_engine_is_handed_is_the_merged_checkpoint(tiny_model, tmp_path: Path) -> None:
    model = adapted(tiny_model, tie_word_embeddings=True)
    model.save_pretrained(tmp_path / "adapter")
    merged(tiny_model(tie_word_embeddings=True), tmp_path / "adapter").save_pretrained(tmp_path / "merged")
    handed = {each.names[0]: each.tensor for each in ModelWeights(model).tensors()}
    written = load_file(tmp_path / "merged" / "model.safetensors")
    assert handed.keys() == written.keys()
    assert all(torch.equal(handed[name], written[name]) for name in written)


def test_peft_reads_what_transformers_saved_of_a_model(tiny_model, tmp_path: Path) -> None:
    from peft import PeftModel

    model = adapted(tiny_model)
    model.save_pretrained(tmp_path / "one")
    model.save_pretrained(tmp_path / "two")
    assert {path.name for path in (tmp_path / "one").iterdir()} >= {"adapter_config.json", "adapter_model.safetensors"}
    assert not (tmp_path / "one" / "model.safetensors").exists()
    theirs = PeftModel.from_pretrained(tiny_model(), str(tmp_path / "one")).eval()
    assert torch.equal(logits(theirs), logits(model))
    said = json.loads((tmp_path / "one" / "adapter_config.json").read_text())
    assert (said["r"], said["lora_alpha"], said["lora_dropout"]) == (4, 6, 0.0)
    assert said["target_modules"] == sorted(said["target_modules"]), "the same bytes in every process"


@pytest.mark.parametrize("name", ["adapter_config.json", "adapter_model.safetensors"])
def test_a_missing_file_of_an_adapter_is_named(tiny_model, tmp_path: Path, name: str) -> None:
    adapted(tiny_model).save_pretrained(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=f"{name} is missing$"):
        read_adapter(tmp_path)


def test_pickled_weights_are_not_read(tiny_model, tmp_path: Path) -> None:
    adapted(tiny_model).save_pretrained(tmp_path)
    (tmp_path / "adapter_model.safetensors").rename(tmp_path / "adapter_model.bin")
    with pytest.raises(FileNotFoundError, match=r"adapter_model.bin is pickled and is not read: save it as safet"):
        read_adapter(tmp_path)


@pytest.mark.parametrize(
    "other", [{"num_hidden_layers": 3}, {"num_hidden_layers": 1}, {"hidden_size": 32}, {"family": "GPT2"}], ids=str
)
def test_an_adapter_of_another_model_is_refused(tiny_model, tmp_path: Path, other: dict[str, Any]) -> None:
    adapted(tiny_model).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"is of another model|does not fit the model"):
        merged(tiny_model(**other), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"peft_type": "IA3"}, "of another kind"), ({"modules_to_save": ["lm_head"]}, "modules_to_save")],
)
def test_what_is_no_plain_adapter_is_refused(tiny_model, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    adapted(tiny_model).save_pretrained(tmp_path)
    path = tmp_path / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        merged(tiny_model(), tmp_path)


def test_an_adapter_that_ruins_weights_is_not_merged(tiny_model, tmp_path: Path) -> None:
    model = adapted(tiny_model)
    model.model.layers[0].mlp.up_proj.lora_B["default"].weight.data[0, 0] = float("nan")
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="NaN"):
        merged(tiny_model(), tmp_path)
