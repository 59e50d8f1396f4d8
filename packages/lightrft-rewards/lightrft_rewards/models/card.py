"""What a reward model's folder says of it beside its weights: reward_model.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

FILE = "reward_model.json"
VERSION = 1


@dataclass(frozen=True)
class RewardCard:
    """heads, pooling, uncertain, probing_layer: see RewardModel (the layers that were dropped are not in the folder).

    apply_chat_template, max_len: how passages were written, and the most tokens that one had (None: any number).
    value_prefix_head: what the head is called among the weights.
    process: it scores the steps of answers. step_separator: what stands between two of them.
    temperature: what differences of rewards are divided by to be log-odds of a preference.
    means, stds: by head, of the rewards of what was held out; without, unknown.
    """

    heads: tuple[str, ...] = ("score",)
    pooling: str = "last"
    uncertain: bool = False
    probing_layer: int = -1
    apply_chat_template: bool = True
    max_len: int | None = None
    value_prefix_head: str = "score"
    process: bool = False
    step_separator: str = "\n\n"
    temperature: float = 1.0
    means: Mapping[str, float] = field(default_factory=dict[str, float])
    stds: Mapping[str, float] = field(default_factory=dict[str, float])
    version: int = VERSION

    @property
    def outputs(self) -> tuple[str, ...]:
        """The name of each row of the head."""
        if not self.uncertain:
            return self.heads
        return tuple(name for head in self.heads for name in (head, f"{head}_log_variance"))

    def write(self, folder: Path) -> None:
        """Into a folder's reward_model.json."""
        (folder / FILE).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def read_card(folder: Path) -> RewardCard | None:
    """What a folder says; None if it says nothing. Raises ValueError if it is no card, or of a later version."""
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        unknown = sorted(content.keys() - {item.name for item in fields(RewardCard)})
        heads = tuple(content["heads"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no card of a reward model: {error}") from error
    if content.get("version") != VERSION or unknown:
        raise ValueError(f"{path} is of another version: {content.get('version')} (this reads {VERSION}) {unknown}")
    return RewardCard(**content | {"heads": heads})
