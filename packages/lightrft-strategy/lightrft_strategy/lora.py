"""Low-rank adapters (LoRA, Hu et al. 2021, arXiv 2106.09685), by peft: put onto a model, left out, merged into it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from lightrft_core import Ranks
from lightrft_strategy.four_bit import state_of
from lightrft_strategy.training.held import Held, Hold
from lightrft_strategy.training.optimiser import OptimiserConfig
from lightrft_strategy.training.whole import Whole

if TYPE_CHECKING:
    from peft import PeftConfig

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
"""The files of an adapter, as peft names them."""


def add_adapter(model: Any, *, rank: int, alpha: float, target_modules: Sequence[str] = (), seed: int = 0) -> None:
    """Put an adapter onto linear layers of a Hugging Face model: W x + alpha / rank * B A x (section 4.1).

    The model stays what it is, its layers are replaced in place; of all its parameters only A and B can be trained from
    now on. B begins at zero, so the model computes what it did; A is drawn by the seed alone. There is no dropout: it
    would make the policy that is trained another one than the policy that was sampled.

    target_modules: the last parts of layers' names, such as q_proj; none: all linear layers but the output head.
    Raises ValueError for one that no such layer has: embeddings and the output head carry no adapter.
    """
    from peft import LoraConfig

    layers = _linear_layers(model)
    for target in target_modules:
        if not any(f".{layer}".endswith(f".{target}") for layer in layers):
            there = ", ".join(sorted({layer.rpartition(".")[2] for layer in layers}))
            raise ValueError(f"{target}: the model has no such linear layer; its linear layers are {there}")
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]
        target_modules=sorted(target_modules) or _shortest(model, layers),
        task_type="CAUSAL_LM",
    )
    named = sorted(config.target_modules or ())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model.add_adapter(config)
    config.target_modules = named  # peft would save its set in another order each time


@contextmanager
def adapter_off(model: nn.Module) -> Iterator[None]:
    """Within, a model computes what it would without its adapter; which parameters are trained does not change.

    (peft's own switch turns their gradients off and on, by which shards would take them for frozen.)
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    for layer in layers:
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


class AdapterOff(nn.Module):
    """What a policy was before its adapter learnt anything, from the policy's own weights.

    It has no parameters of its own: a strategy moves, converts, trains and saves nothing for it.
    """

    def __init__(self, policy: nn.Module) -> None:
        super().__init__()
        self._policy = (policy,)

    def forward(self, batch: Any) -> Any:
        """The policy's output on a batch, its adapter left out."""
        (policy,) = self._policy
        with adapter_off(policy):
            return policy(batch)


def sharing(hold: Hold) -> Hold:
    """The same for all models but an AdapterOff, which lives where its policy does and is left alone."""

    def held(module: nn.Module, config: OptimiserConfig | None, dtype: torch.dtype | None, ranks: Ranks) -> Held:
        return (Whole if isinstance(module, AdapterOff) else hold)(module, config, dtype, ranks)

    return held


def merged_state(model: nn.Module) -> dict[str, Tensor]:
    """The weights of a model by the names they have without an adapter, one that it has added; it stays as it is.

    Weights in 4 bits are the numbers that these stand for: the model that was trained, whole.
    """
    state = state_of(model)
    if not any(".lora_A." in name for name in state):
        return state
    from peft.tuners.lora import LoraLayer

    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, LoraLayer)}
    plain: dict[str, Tensor] = {}
    for name, tensor in state.items():
        owner, within, rest = name.partition(".base_layer.")
        if not within:
            if not any(f".{part}." in name for part in ("lora_A", "lora_B")):
                plain[name] = tensor
            continue
        if rest == "weight":
            layer: Any = layers[owner]
            tensor = tensor + sum(layer.get_delta_weight(key).to(tensor.dtype) for key in layer.active_adapters)
        plain[f"{owner}.{rest}"] = tensor
    return plain


def merged(model: Any, folder: Path) -> Any:
    """A Hugging Face model with the adapter in a folder added to its weights, in the model's own precision.

    The model is used up. Raises FileNotFoundError if a file of the adapter is missing, ValueError if it is no LoRA
    adapter, belongs to another model or would make weights infinite or NaN.
    """
    from peft import PeftModel, set_peft_model_state_dict

    config, weights = read_adapter(folder)
    if list(getattr(config, "modules_to_save", None) or ()):
        raise ValueError(f"{folder} also replaces whole layers (modules_to_save), which this does not merge")
    try:
        adapted = PeftModel(model, config)
    except ValueError as error:
        raise ValueError(f"{folder} does not fit the model: {error}") from error
    _require_same(folder, weights, adapted)
    set_peft_model_state_dict(adapted, weights)
    return adapted.merge_and_unload(safe_merge=True)


def read_adapter(folder: Path) -> tuple[PeftConfig, dict[str, Tensor]]:
    """The configuration and the weights of a LoRA adapter in a folder, as peft writes them.

    Raises FileNotFoundError if one of its files is missing, ValueError if it is no LoRA adapter.
    """
    from peft import PeftConfig, PeftType

    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            pickled = folder / "adapter_model.bin"
            why = f"; {pickled.name} is pickled and is not read: save it as safetensors" if pickled.is_file() else ""
            raise FileNotFoundError(f"{folder} holds no adapter: {name} is missing{why}")
    try:
        config = PeftConfig.from_pretrained(str(folder))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / CONFIG} is no configuration of an adapter: {error}") from error
    if config.peft_type != PeftType.LORA:
        raise ValueError(f"{folder} holds an adapter of another kind: {config.peft_type}, not LORA")
    config.inference_mode = True
    return config, load_file(folder / WEIGHTS)


def _linear_layers(model: Any) -> list[str]:
    head = model.get_output_embeddings()
    return [
        name for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D) and module is not head
    ]


def _shortest(model: nn.Module, layers: list[str]) -> list[str]:
    """What peft understands as these layers: the last parts of their names, if no other module shares one."""
    ends = {layer.rpartition(".")[2] for layer in layers}
    meant = [name for name, _ in model.named_modules() if name.rpartition(".")[2] in ends]
    return sorted(ends) if meant == layers else layers


def _require_same(folder: Path, weights: dict[str, Tensor], adapted: nn.Module) -> None:
    from peft import get_peft_model_state_dict

    own = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    there = {(name, tuple(tensor.shape)) for name, tensor in weights.items()}
    here = {(name, tuple(tensor.shape)) for name, tensor in own.items()}
    if there != here:
        name, shape = min(there ^ here)
        side = "the adapter" if (name, shape) in there else "the model"
        raise ValueError(f"{folder} is of another model: {name} {list(shape)} is only in {side}")
