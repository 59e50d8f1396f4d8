"""A checkpoint as a Hugging Face folder, in one process: what `lightrft export` does with its flags."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import nn
from transformers.utils.logging import disable_progress_bar as hide_progress_bars

from lightrft_apps.config import ConfigError, GRMConfig, ModelArgs, RLConfig, RMConfig, RunConfig, stored_config
from lightrft_apps.config.checks.lora import NO_BITSANDBYTES
from lightrft_apps.config.commands.export import ExportArgs
from lightrft_apps.converting.newest import newest_of
from lightrft_apps.models import loading
from lightrft_apps.models.adaptation import adapt
from lightrft_apps.models.hugging_face import fill_new, write_new
from lightrft_apps.models.precision import dtype_name
from lightrft_apps.recording.directory import RunDirectory
from lightrft_apps.recording.lines import read_lines
from lightrft_apps.training.grm import form_of
from lightrft_apps.training.srm import reward_model, write_reward_model
from lightrft_apps.training.srm_summary import held_out_moments
from lightrft_rewards.models.judges import JudgeForm
from lightrft_strategy.checkpoints import checkpoints
from lightrft_strategy.four_bit import round_to_four_bits
from lightrft_strategy.language import LanguageActor, LanguageCritic
from lightrft_strategy.lora import merged
from lightrft_strategy.training.average import EMA
from lightrft_strategy.training.masters import MASTER, load_masters
from lightrft_strategy.training.optimiser import set_precision


def export_checkpoint(args: ExportArgs, *, checksums: bool = True) -> None:
    """Write the model and its tokenizer. Raises ConfigError, naming the file or the flag, if something is not there.

    checksums: compare every byte that is loaded; False for a checkpoint that newest_of has just found.
    """
    hide_progress_bars()
    folder, config, compared = _found(args)
    checksums = checksums and not compared
    name = args.model or ("rm" if (folder / "rm").is_dir() else "policy")
    if not (folder / name).is_dir():
        there = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir())) or "no folder"
        raise ConfigError([f"--model {name}: {folder} holds {there}, and no trained {name}"])
    if name == "rm":
        _export_reward_model(args, folder, config, checksums)
        return
    if args.merge and config is None:
        problem = "--merge needs the run's config.yaml, which is not there: give RUN/checkpoints/step_N"
        raise ConfigError([problem])
    of = _began_as(args, config)
    adapter = config is not None and config.lora.lora_rank > 0
    if args.merge and not adapter:
        raise ConfigError([f"--merge: {folder} is of no run with --lora_rank: leave --merge out"])
    if args.model == "critic" and adapter and not args.merge:
        raise ConfigError(["--model critic: a value head beside an adapter is no folder of peft: set --merge"])
    with _refused(config):
        model, untrained = _trained(args, of, config if adapter else None, folder / name, checksums)
    dtype = args.dtype or dtype_name(of)
    set_precision(model, getattr(torch, dtype))
    said = f"{name} of {folder}, {dtype}{_kept(untrained, of.pretrain)}"
    form = _form(folder, config) if name == "policy" else None
    write_new(args.output, model, loading.load_senses(of).processor, said, form)


def _found(args: ExportArgs) -> tuple[Path, RunConfig | None, bool]:
    """The checkpoint, the configuration of its run if that is there, and whether every byte has been compared."""
    place = Path(args.checkpoint).expanduser()
    run = RunDirectory(place)
    compared = False
    if run.checkpoints.is_dir():
        named = _named(run, args)
        compared = named is None
        folder = newest_of(run, f"--checkpoint {place} has no whole checkpoint") if named is None else named
    elif args.step is not None or args.best:
        problem = f"--checkpoint {place} is no run to choose from: give a run's folder, or leave --step and --best out"
        raise ConfigError([problem])
    else:
        folder, run = place, RunDirectory(place.absolute().parent.parent)
    known = folder.absolute().parent.name == run.checkpoints.name and run.config.is_file()
    return folder, stored_config(run.config) if known else None, compared


def _named(run: RunDirectory, args: ExportArgs) -> Path | None:
    """The checkpoint of a run that --step or --best names; None without them."""
    present = checkpoints(run.checkpoints)
    step = run.best() if args.best else args.step
    if args.best and step is None:
        raise ConfigError([f"--best: no checkpoint of {run.path} is of a step that was evaluated: set --step"])
    if step is not None and step not in present:
        there = ", ".join(map(str, present)) or "no step"
        raise ConfigError([f"--step {step}: {run.path} has checkpoints of {there}"])
    return None if step is None else present[step]


def _began_as(args: ExportArgs, config: RunConfig | None) -> ModelArgs:
    """The model that training began from."""
    if config is None:
        if args.pretrain is None:
            raise ConfigError([f"--checkpoint {args.checkpoint}: no config.yaml of its run is there: set --pretrain"])
        return ModelArgs(args.pretrain, trust_remote_code=args.trust_remote_code)
    own = config.critic.critic_pretrain if isinstance(config, RLConfig) and args.model == "critic" else None
    pretrain = args.pretrain or own or config.model.pretrain
    if config.model.trust_remote_code and not args.trust_remote_code:
        raise ConfigError([f"the run used --trust_remote_code: add it if you trust {pretrain}"])
    return replace(
        config.model,
        pretrain=pretrain,
        attn_implementation=None,
        gradient_checkpointing=False,
        trust_remote_code=args.trust_remote_code,
    )


def _form(folder: Path, config: RunConfig | None) -> JudgeForm | None:
    """How the judge is asked that the checkpoint is of; None if it is of no judge."""
    if isinstance(config, GRMConfig):
        return form_of(config)
    return None if config is None else JudgeForm.read(folder.absolute().parent.parent)


def _kept(untrained: int, pretrain: str) -> str:
    if untrained == 0:
        return ""
    weights = "1 weight is that" if untrained == 1 else f"{untrained} weights are those"
    was = "it was" if untrained == 1 else "they were"
    return f"; {weights} of {pretrain}, for {was} not trained"


def _trained(
    args: ExportArgs, of: ModelArgs, adapted: RunConfig | None, part: Path, checksums: bool
) -> tuple[Any, int]:
    """The model with a checkpoint's weights, and how many weights of a whole model are not among them.

    adapted: the run's configuration if it trained an adapter. part: what of the checkpoint is of this model.
    checksums: as in load_masters.
    """
    model = loading.load_model(of)
    if adapted is not None:
        adapt(model, replace(adapted, lora=replace(adapted.lora, load_in_4bit=False)))
    critic = LanguageCritic(model) if args.model == "critic" else None
    module = LanguageActor(model) if critic is None else critic
    missing = load_masters(module, part, EMA if args.ema else MASTER, checksums=checksums)
    if adapted is not None and args.merge:
        with TemporaryDirectory() as adapter:
            model.save_pretrained(adapter)
            model = merged(_base(of, adapted), Path(adapter))
    if critic is not None:
        model = _token_classifier(model, critic.value_head)
    return model, 0 if adapted is not None else len(missing)


def _base(of: ModelArgs, config: RunConfig) -> Any:
    """The model that a run's adapter was trained on: of a run with --load_in_4bit, the numbers its 4 bits stood for."""
    if not config.lora.load_in_4bit:
        return loading.load_model(of)
    if find_spec("bitsandbytes") is None:
        raise ConfigError([NO_BITSANDBYTES])
    model = loading.load_model(of)
    round_to_four_bits(model)
    return model


def _export_reward_model(args: ExportArgs, folder: Path, config: RunConfig | None, checksums: bool) -> None:
    """As the run itself writes one, into the folder that --output names."""
    if not isinstance(config, RMConfig):
        raise ConfigError(["--model rm needs the run's config.yaml, which is not there: give RUN/checkpoints/step_N"])
    if args.merge:
        raise ConfigError(["--merge: a reward model is written with its adapter merged in any case: leave it out"])
    of = _began_as(args, config)
    base = _base(of, config)
    config = replace(config, model=of, lora=replace(config.lora, load_in_4bit=False))
    senses = loading.load_senses(of)
    rewards = reward_model(config, base, senses)
    with _refused(config):
        missing = load_masters(rewards, folder / "rm", EMA if args.ema else MASTER, checksums=checksums)
    step = int(folder.name.removeprefix("step_"))
    lines = [
        line for line in read_lines(RunDirectory(folder.absolute().parent.parent).metrics).lines if line["step"] == step
    ]
    moments = held_out_moments(lines[0], rewards.heads) if lines and not args.ema else ({}, {})
    dtype = args.dtype or dtype_name(of)
    set_precision(rewards, getattr(torch, dtype))
    untrained = 0 if config.lora.lora_rank else len(missing)
    said = f"rm of {folder}, {dtype}{_kept(untrained, of.pretrain)}"
    fill_new(args.output, lambda place: write_reward_model(config, rewards, senses, place, *moments), said)


def _token_classifier(model: Any, head: nn.Linear) -> Any:
    """A critic as what transformers knows: a linear layer on the last hidden state of each token."""
    from transformers import AutoModelForTokenClassification

    config = deepcopy(model.config)
    config.id2label, config.label2id = {0: "value"}, {"value": 0}
    with torch.device("meta"):
        classifier = AutoModelForTokenClassification.from_config(config, dtype=torch.float32)
    (last,) = (name for name, part in classifier.named_children() if isinstance(part, nn.Linear))
    setattr(classifier, classifier.base_model_prefix, model.base_model)
    setattr(classifier, last, head)
    return classifier


@contextmanager
def _refused(config: RunConfig | None) -> Iterator[None]:
    try:
        yield
    except ConfigError:
        raise
    except ValueError as error:
        hint = "" if config is not None else "; a checkpoint of a run with --lora_rank needs the run's config.yaml"
        raise ConfigError([f"{error}{hint}"]) from error
