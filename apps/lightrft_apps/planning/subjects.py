"""The models of a plan on the meta device, by their configurations, trained and frozen as the flags say."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

from lightrft_apps.config import ConfigError, ModelArgs
from lightrft_apps.config.commands.plan import PlanCommand, limits_of
from lightrft_apps.models.adaptation import adapt, freeze_named
from lightrft_apps.models.loading import config_of, model_folder, not_loaded
from lightrft_apps.models.precision import compute_dtype
from lightrft_apps.planning.media import prompt_maker
from lightrft_multimodal.adapters import family_of
from lightrft_multimodal.adapters.outlines import OutlineAdapter
from lightrft_strategy.language import LanguageActor, LanguageCritic
from lightrft_strategy.planning import Subject, empty_model
from lightrft_strategy.reading import Reader


class Subjects:
    """Models on the meta device; one serves all plans whose flags leave it as it is. on_host: computed on a CPU."""

    def __init__(self, *, on_host: bool) -> None:
        self._on_host = on_host
        self._built: dict[object, Subject] = {}
        self._adapters: dict[ModelArgs, OutlineAdapter | None] = {}

    def of(self, command: PlanCommand, flag: str, pretrain: str, role: str) -> Subject:
        """role: policy, critic, or frozen for what only scores. flag: that names the model. Raises ConfigError."""
        model = replace(command.model, pretrain=pretrain)
        if model not in self._adapters:
            self._adapters[model] = _adapter(flag, model)
        adapter = self._adapters[model]
        key: tuple[object, ...] = (role, model, command.lora)
        if adapter is not None:
            limits = tuple(limits_of(command).values())
            key += (command.machine.prompt_media, command.prompt_tokens, limits, _every_tower(command))
        elif command.machine.prompt_media is not None:
            raise ConfigError([f"--prompt_media: --{flag} {pretrain} reads text alone: leave the flag out"])
        if key not in self._built:
            self._built[key] = _build(command, flag, model, role, adapter, self._on_host)
        try:
            self._built[key].slice(command.parallel.tp_size)
        except ValueError as error:
            raise ConfigError([f"--{flag} {pretrain} with --tp_size {command.parallel.tp_size}: {error}"]) from error
        return self._built[key]


def _every_tower(command: PlanCommand) -> bool:
    return command.parallel.fsdp or command.parallel.zero_stage is not None


@contextmanager
def _reading(flag: str, pretrain: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        raise ConfigError([not_loaded(flag, pretrain, error)]) from error


def _adapter(flag: str, args: ModelArgs) -> OutlineAdapter | None:
    """What a model sees and hears with; None if it reads text alone."""
    with _reading(flag, args.pretrain):
        config = config_of(args)
    family = family_of(config.model_type)
    if family is None:
        return None
    if family.outlines is None:
        problem = (
            f"what the towers of {config.model_type} read is not outlined: plan its decoder, a text model, instead"
        )
        raise ConfigError([f"--{flag} {args.pretrain}: {problem}"])
    return OutlineAdapter(family, config)


def _build(
    command: PlanCommand, flag: str, args: ModelArgs, role: str, adapter: OutlineAdapter | None, on_host: bool
) -> Subject:
    with _reading(flag, args.pretrain):
        if adapter is None:
            model = empty_model(model_folder(args.pretrain), trust_remote_code=args.trust_remote_code)
        else:
            model = adapter.empty_model()
    name = type(model).__name__
    if args.gradient_checkpointing:
        model.gradient_checkpointing_enable()
        model.train()
    four_bit = command.lora.load_in_4bit and role != "frozen"
    if role != "frozen":
        adapt(model, replace(command, lora=replace(command.lora, load_in_4bit=False)))
    if role == "policy":
        freeze_named(model, command)
    reader = Reader(adapter, every_tower=_every_tower(command))
    actor = partial(LanguageActor, temperature=command.rollout.temperature)
    module = (LanguageCritic if role == "critic" else actor)(model, reader=reader)
    if role == "frozen":
        module.requires_grad_(False)
    prompt_of = None if adapter is None else prompt_maker(command, adapter)
    subject = Subject(module, compute_dtype(args), four_bit=four_bit, prompt_of=prompt_of, on_host=on_host)
    try:
        subject.forward(2, 1)
    except (RuntimeError, TypeError, ValueError) as error:
        problem = f"a {name} cannot be counted without its weights: {error}"
        raise ConfigError([f"--{flag} {args.pretrain}: {problem}"]) from error
    return subject
