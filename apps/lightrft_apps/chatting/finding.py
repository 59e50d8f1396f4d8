"""What --pretrain stands for in a chat: a model, a run, one of its checkpoints, or an adapter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lightrft_apps.config import ConfigError, RMConfig, RunConfig, stored_config
from lightrft_apps.config.chat import WhoArgs
from lightrft_apps.config.checks.lora import OF_AN_ADAPTER
from lightrft_apps.config.checks.places import missing_source
from lightrft_apps.config.commands.export import ExportArgs
from lightrft_apps.converting.exporting import export_checkpoint
from lightrft_apps.converting.newest import newest_of
from lightrft_apps.recording.directory import HUGGING_FACE, RunDirectory
from lightrft_strategy.lora import read_adapter
from lightrft_strategy.manifest import check_files, read_manifest


@dataclass(frozen=True)
class Found:
    """A model to load. pretrain: what transformers loads. adapter: what is put onto it. run: what it was trained by."""

    name: str
    pretrain: str
    adapter: Path | None = None
    run: RunConfig | None = None


def find_model(given: str, lora_path: str | None, who: WhoArgs, scratch: Path) -> Found:
    """What a person named.

    scratch: an empty folder for a checkpoint that no Hugging Face folder was written of. Raises ConfigError if there is
    no model to talk with.
    """
    place = Path(given).expanduser()
    config = _run_of(place)
    if isinstance(config, RMConfig):
        raise ConfigError([f"{given} is of a scalar reward model, which writes no answers: judge by --reward_pretrain"])
    model = _model_in(place, config, who, scratch) if place.is_dir() else None
    folder = given if model is None else str(model)
    if lora_path is not None:
        return Found(f"{given} + {lora_path}", folder, Path(lora_path).expanduser(), config)
    if model is None or not (model / OF_AN_ADAPTER).is_file():
        return Found(given, folder, run=config)
    return Found(given, _base(given, model, config), model, config)


def _model_in(place: Path, config: RunConfig | None, who: WhoArgs, scratch: Path) -> Path:
    """The folder of the model, or of the adapter, that a folder stands for."""
    run = RunDirectory(place)
    if config is not None and run.config.is_file():
        if run.final.is_dir():
            return run.final
        newest = newest_of(run, f"{place}: the run has neither final/ nor a whole checkpoint yet")
        return _model_of(newest, config, who, scratch, checksums=False)
    if config is None or place.parent.name != run.checkpoints.name:
        return place
    return _model_of(place, config, who, scratch, checksums=True)


def _model_of(checkpoint: Path, config: RunConfig, who: WhoArgs, scratch: Path, *, checksums: bool) -> Path:
    """The folder of a checkpoint's model: what the run wrote for others to load, or else an export of its own.

    checksums: compare every byte that is loaded; False for a checkpoint that newest_of has just found.
    """
    if (checkpoint / HUGGING_FACE).is_dir():
        if checksums:
            _compare_hugging_face(checkpoint)
        return checkpoint / HUGGING_FACE
    output = scratch / checkpoint.name
    adapted = config.lora.lora_rank > 0
    args = ExportArgs(str(checkpoint), str(output), merge=adapted, trust_remote_code=who.trust_remote_code)
    export_checkpoint(args, checksums=checksums)
    return output


def _compare_hugging_face(checkpoint: Path) -> None:
    try:
        files = read_manifest(checkpoint)["files"].items()
        within = {name: seal for name, seal in files if name.startswith(f"{HUGGING_FACE}/")}
        check_files(checkpoint, {"files": within}, checksums=True)
    except ValueError as error:
        raise ConfigError([str(error)]) from error


def _run_of(place: Path) -> RunConfig | None:
    """The configuration of the run that a folder is, or a part of; None if it is of none."""
    if not place.is_dir():
        return None
    place = place.absolute()
    above = [place, place.parent] if place.name == "final" else [place]
    if place.name == HUGGING_FACE:
        place = place.parent
    if place.parent.name == "checkpoints":
        above.append(place.parent.parent)
    for folder in above:
        run = RunDirectory(folder)
        if run.config.is_file() and (run.final.is_dir() or run.checkpoints.is_dir() or run.metrics.is_file()):
            return stored_config(run.config)
    return None


def _base(given: str, adapter: Path, config: RunConfig | None) -> str:
    """The model that an adapter is for."""
    if config is not None:
        base = config.model.pretrain
    else:
        try:
            named = read_adapter(adapter)[0].base_model_name_or_path
        except (ImportError, OSError, ValueError) as error:
            raise ConfigError([f"{given} cannot be read as an adapter: {error}"]) from error
        if not named:
            raise ConfigError([f"{given} does not say what model it is for: set --pretrain BASE --lora_path {given}"])
        base = str(named)
    gone = list(missing_source("pretrain", base))
    if gone:
        hint = f"{given} is an adapter for {base}, which is not there: set --pretrain BASE --lora_path {given}"
        raise ConfigError([hint])
    return base
