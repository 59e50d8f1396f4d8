"""From --pretrain to a model, its tokenizer and its adapter; with --fsdp to a model that has no weights yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightrft_apps.config import ConfigError, LearningConfig, ModelArgs
from lightrft_apps.models.senses import Senses
from lightrft_multimodal.adapters import load_adapter
from lightrft_strategy.language import load_language_model
from lightrft_strategy.smollm2 import NAME, smollm2
from lightrft_strategy.training.meta import empty_language_model


def model_folder(pretrain: str) -> str:
    """What transformers loads for --pretrain: the bundled model by its name, else the folder or hub id itself."""
    if pretrain == NAME:
        return str(smollm2())
    return str(Path(pretrain).expanduser()) if pretrain.startswith("~") else pretrain


def model_files(pretrain: str) -> str:
    """A folder with all of a model's files, downloaded if it is a hub id. Raises OSError if there is no such model."""
    from huggingface_hub import snapshot_download

    folder = model_folder(pretrain)
    return folder if Path(folder).is_dir() else str(snapshot_download(folder))


def config_of(model: ModelArgs) -> Any:
    """The model's configuration. Raises OSError or ValueError if there is none."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(model_folder(model.pretrain), trust_remote_code=model.trust_remote_code)


def load_tokenizer(model: ModelArgs) -> Any:
    """The model's own tokenizer. Raises ConfigError if there is none."""
    from transformers import AutoTokenizer

    with _naming(model.pretrain):
        return AutoTokenizer.from_pretrained(model_folder(model.pretrain), trust_remote_code=model.trust_remote_code)


def load_senses(model: ModelArgs) -> Senses:
    """The model's tokenizer and, if it sees or hears, its family's adapter. Raises ConfigError if they are missing."""
    with _naming(model.pretrain):
        adapter = load_adapter(model_folder(model.pretrain), trust_remote_code=model.trust_remote_code)
    return Senses(load_tokenizer(model) if adapter is None else adapter.tokenizer, adapter)


def load_model(model: ModelArgs) -> Any:
    """The model in float32, its towers with it. Raises ConfigError if it cannot be loaded."""
    folder, trusted = model_folder(model.pretrain), model.trust_remote_code
    with _naming(model.pretrain):
        adapter = load_adapter(folder, trust_remote_code=trusted)
        load = load_language_model if adapter is None else adapter.load_model
        loaded = load(folder, attn_implementation=model.attn_implementation, trust_remote_code=trusted)
    return _checkpointed(loaded, model)


def load_to_hold(
    config: LearningConfig,
    model: ModelArgs | None = None,
    *,
    flag: str = "pretrain",
    say: Callable[[str], None] = lambda line: None,
) -> Any:
    """A model for `held` to take onto the ranks, in float32; None: the run's own. With --fsdp as load_empty does.

    flag: names the model. say: told that, with --fsdp, it is loaded whole after all, and why, before it is.
    """
    args = config.model if model is None else model
    if not config.parallel.fsdp:
        return load_model(args)
    words = f"--{flag} {args.pretrain} is loaded whole on every rank before it is sharded"
    return load_empty(config, args, lambda reason: say(f"{words}: {reason}"))


def load_empty(config: LearningConfig, model: ModelArgs, whole: Callable[[str], None] = lambda reason: None) -> Any:
    """The model in float32 on the meta device, its weights to be read by `held` or copied by a replica.

    Whole if it must be: it gets an adapter, sees or hears, may bring code of its own, or is no empty_language_model.
    whole: told why, before it is loaded. Raises ConfigError if it cannot be loaded.
    """
    with _naming(model.pretrain):
        reason = _needs_weights(config, model)
        if not reason:
            folder, attention = model_folder(model.pretrain), model.attn_implementation
            try:
                return _checkpointed(empty_language_model(folder, attn_implementation=attention), model)
            except ValueError as error:  # loading it whole works, or says why not
                reason = str(error)
    whole(reason)
    return load_model(model)


def _needs_weights(config: LearningConfig, model: ModelArgs) -> str:
    """Why a model is never built without its weights; "" where nothing but its files can be in the way."""
    if config.lora.lora_rank:
        return f"--lora_rank {config.lora.lora_rank} asks for models with their weights"
    if model.trust_remote_code:
        return "--trust_remote_code lets it bring code of its own, which may need its weights"
    sees = load_adapter(model_folder(model.pretrain)) is not None
    return "models that see or hear are built with their weights" if sees else ""


def _checkpointed(loaded: Any, model: ModelArgs) -> Any:
    if model.gradient_checkpointing:
        loaded.gradient_checkpointing_enable()
        loaded.train()
    return loaded


@contextmanager
def _naming(pretrain: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise ConfigError([not_loaded("pretrain", pretrain, error)]) from error


def not_loaded(flag: str, pretrain: str, error: Exception) -> str:
    """What to say of a model that cannot be loaded; of one with code of its own, by which flag it may run it."""
    if "trust_remote_code" in str(error):
        return (
            f"--{flag} {pretrain} brings Python code of its own: read it, and set --trust_remote_code if you trust it"
        )
    return f"--{flag} {pretrain} cannot be loaded: {error}"
