"""What the prompts of a plan show and play: by --prompt_media, or one medium as large as a prompt."""

from __future__ import annotations

from collections.abc import Callable

from lightrft_apps.config import ConfigError
from lightrft_apps.config.commands.plan import PlanCommand, limits_of, media_in
from lightrft_core import Prompt
from lightrft_multimodal.adapters.outlines import OutlineAdapter


def prompt_maker(command: PlanCommand, adapter: OutlineAdapter) -> Callable[[int], Prompt]:
    """Number -> a prompt of the expected length with media of its own. Raises ConfigError if no prompt has these."""
    length, media = command.prompt_tokens, media_of(command, adapter)
    placeholders = [adapter.kinds[modality if modality in adapter.kinds else "image"] for modality, _ in media]
    text = next(token for token in range(len(adapter.placeholders) + 1) if token not in adapter.placeholders)
    ids = [token for token, (_, size) in zip(placeholders, media, strict=True) for _ in range(size)]
    token_ids = (*ids, *[text] * (length - len(ids)))

    def prompt_of(number: int) -> Prompt:
        return Prompt(f"{number}", (), "", token_ids, media=adapter.outlined(number, media))

    return prompt_of


def media_of(command: PlanCommand, adapter: OutlineAdapter) -> list[tuple[str, int]]:
    """Modality and tokens of each medium of a prompt. Raises ConfigError if the model has none such."""
    if command.machine.prompt_media is None:
        return _default(command, adapter)
    media = media_in(command.machine.prompt_media)
    for modality, tokens in media:
        told = f"--prompt_media {modality}:{tokens}"
        if modality not in adapter.towers:
            raise ConfigError([f"{told}: the model reads {', '.join(adapter.towers)}: name one of them"])
        if adapter.largest(modality, tokens) != tokens:
            raise ConfigError([f"{told}: {_sizes(adapter, modality, tokens)}"])
    return media


def _default(command: PlanCommand, adapter: OutlineAdapter) -> list[tuple[str, int]]:
    limits = {modality: limits_of(command)[modality] for modality in adapter.towers}
    modality = next((modality for modality, limit in limits.items() if limit != 0), None)
    if modality is None:
        return []
    count = limits[modality] or 1
    tokens = adapter.largest(modality, command.prompt_tokens // count)
    if not tokens:
        problem = f"--prompt_len {command.prompt_tokens}: {_sizes(adapter, modality, command.prompt_tokens // count)}"
        raise ConfigError([f"{problem}; or set --prompt_media none"])
    return [(modality, tokens)] * count


def _sizes(adapter: OutlineAdapter, modality: str, tokens: int) -> str:
    below = adapter.largest(modality, tokens)
    above = next(
        (size for grown in range(tokens, 64 * tokens + 8192) if (size := adapter.largest(modality, grown)) > below), 0
    )
    near = " or ".join(f"{size}" for size in (below, above) if size)
    return f"the model makes {near} tokens of the nearest {modality}: set it to that"
