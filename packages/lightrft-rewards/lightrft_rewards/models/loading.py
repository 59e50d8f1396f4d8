"""Reward models as folders: written so that Transformers loads them where it can, read from ours and from others'."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from lightrft_multimodal.adapters import MediaAdapter, load_adapter
from lightrft_multimodal.encoding import MediaEncoder
from lightrft_rewards.models.card import RewardCard, read_card
from lightrft_rewards.models.padding import set_padding_token
from lightrft_rewards.models.reward_model import RewardModel
from lightrft_strategy.language import without_dropout
from lightrft_strategy.lora import merged_state
from lightrft_strategy.reading import TEXT, Reader

HEAD_FILE = "reward_head.safetensors"
INDEX, WEIGHTS = "model.safetensors.index.json", "model.safetensors"


@dataclass(frozen=True)
class LoadedRewardModel:
    """A reward model and what writes its passages. adapter: of one that sees or hears; None: it reads text alone."""

    model: RewardModel
    processor: Any
    adapter: MediaAdapter | None
    card: RewardCard

    @property
    def tokenizer(self) -> Any:
        """The tokenizer, of a processor the one within."""
        return self.processor if self.adapter is None else self.adapter.tokenizer

    def encoder(self) -> MediaEncoder | None:
        """What reads media and writes them; None for text alone."""
        return None if self.adapter is None else MediaEncoder(self.adapter)


def save_reward_model(model: RewardModel, processor: Any, folder: Path, card: RewardCard) -> None:
    """Write a model that is whole, with its processor and card, into a folder; a LoRA adapter is merged in the copy.

    One that reads text and pools the last token becomes a *ForSequenceClassification of Transformers, with a label for
    each row of its head and a token to pad with; any other is its backbone's own checkpoint and a file with the head
    (and the query). Raises ValueError if there is no token to pad with (set_padding_token tells beforehand).
    """
    weights, backbone = merged_state(model.model), model.model
    head = {name: tensor.contiguous() for name, tensor in model.state_dict().items() if not name.startswith("model.")}
    if _is_classifier(model):
        set_padding_token(processor, backbone.get_input_embeddings().num_embeddings)
        config = _classifier_config(backbone.config, processor, card)
        with torch.device("meta"):
            whole = AutoModelForSequenceClassification.from_config(config)
        prefix = whole.base_model_prefix
        setattr(whole, prefix, backbone)
        named = {f"{prefix}.{name}": tensor for name, tensor in weights.items()}
        whole.save_pretrained(folder, state_dict=named | {f"{card.value_prefix_head}.weight": head["score.weight"]})
    else:
        backbone.save_pretrained(folder, state_dict=weights)
        save_file(head, folder / HEAD_FILE, metadata={"format": "pt"})
    processor.save_pretrained(folder)
    card.write(folder)


def load_reward_model(
    folder: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    attn_implementation: str | None = None,
    trust_remote_code: bool = False,
    value_prefix_head: str | None = None,
) -> LoadedRewardModel:
    """What save_reward_model wrote; or a classifier of others (Transformers, TRL, OpenRLHF), of one row a head.

    value_prefix_head: what the head is called among a foreign checkpoint's weights; None: what its config.json says, or
    "score". The head is computed in float32, whatever dtype the model has. Only safetensors are read.
    Raises OSError or ValueError, in a person's words, if the folder is no such model.
    """
    folder = Path(folder)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=trust_remote_code)
    adapter = load_adapter(folder, trust_remote_code=trust_remote_code)
    card = read_card(folder)
    settings: dict[str, Any] = {
        "dtype": dtype,
        "attn_implementation": attn_implementation,
        "trust_remote_code": trust_remote_code,
        "use_safetensors": True,
    }
    if card is None:
        name = value_prefix_head or getattr(config, "value_head_prefix", None) or "score"
        head = {"score.weight": _foreign_head(folder, f"{name}.weight")}
        card = _foreign_card(config, head["score.weight"], name)
    elif (folder / HEAD_FILE).is_file():
        head = load_file(folder / HEAD_FILE)
    else:
        head = {"score.weight": _foreign_head(folder, f"{card.value_prefix_head}.weight")}
    if len(head["score.weight"]) != len(card.outputs):
        raise ValueError(f"{folder}: its head has {len(head['score.weight'])} rows, and its card names {card.outputs}")
    reader = TEXT if adapter is None else Reader(adapter)
    model = RewardModel(
        without_dropout(_load_backbone(folder, config, adapter, settings)),
        heads=card.heads,
        pooling=card.pooling,
        uncertain=card.uncertain,
        reader=reader,
    )
    _fill(model, head, folder)
    processor = (
        AutoTokenizer.from_pretrained(folder, trust_remote_code=trust_remote_code)
        if adapter is None
        else adapter.processor
    )
    return LoadedRewardModel(model.eval(), processor, adapter, card)


def _load_backbone(folder: Path, config: Any, adapter: MediaAdapter | None, settings: Mapping[str, Any]) -> Any:
    """A folder's model; a classifier is loaded as one, so that Transformers misses none of its weights."""
    (architecture, *_) = config.architectures or [""]
    if adapter is not None and hasattr(transformers, architecture):
        return getattr(transformers, architecture).from_pretrained(folder, **settings)
    if architecture.endswith("ForSequenceClassification"):
        return AutoModelForSequenceClassification.from_pretrained(folder, **settings).base_model
    return AutoModel.from_pretrained(folder, **settings)


def _is_classifier(model: RewardModel) -> bool:
    """Whether Transformers has a class that computes the same."""
    known = type(model.model.config) in transformers.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING
    return model.reader.adapter is None and model.pooling == "last" and known


def _classifier_config(config: Any, tokenizer: Any, card: RewardCard) -> Any:
    config = deepcopy(config)
    config.id2label = dict(enumerate(card.outputs))
    config.label2id = {name: number for number, name in enumerate(card.outputs)}
    config.pad_token_id = tokenizer.pad_token_id
    config.value_head_prefix = card.value_prefix_head
    return config


def _foreign_head(folder: Path, name: str) -> Tensor:
    """A weight of a checkpoint in safetensors."""
    index = folder / INDEX
    places = json.loads(index.read_text(encoding="utf-8"))["weight_map"] if index.is_file() else {}
    file = folder / places.get(name, WEIGHTS)
    if not file.is_file():
        raise ValueError(f"{folder} holds no {file.name}: weights are read from safetensors alone, save them as such")
    try:
        with safe_open(file, framework="pt") as weights:
            names = list(weights.keys())
            if name in names:
                tensor: Tensor = weights.get_tensor(name)
                return tensor.float()
    except SafetensorError as error:
        raise ValueError(f"{file} is damaged: {error}") from error
    short = sorted(other for other in names if other.count(".") == 1)
    raise ValueError(
        f"{folder} is no reward model that can be read: it has no weight {name} (of such there are "
        f'{", ".join(short) or "none"}); say what its head is called by "value_head_prefix" in its config.json, or by '
        "--value_prefix_head of lightrft eval-rm"
    )


def _foreign_card(config: Any, head: Tensor, name: str) -> RewardCard:
    """Of a sequence classifier: heads by its labels, unless these are but numbers."""
    rows = head.shape[0]
    labels = [str(config.id2label.get(row, f"LABEL_{row}")) for row in range(rows)]
    numbered = labels == [f"LABEL_{row}" for row in range(rows)]
    heads = (("score",) if rows == 1 else tuple(f"score_{row}" for row in range(rows))) if numbered else tuple(labels)
    given = {key: getattr(config, key, None) for key in ("mean", "std")}
    means, stds = ({heads[0]: float(value)} if isinstance(value, int | float) else {} for value in given.values())
    return RewardCard(heads=heads, value_prefix_head=name, means=means, stds=stds)


def _fill(model: RewardModel, head: Mapping[str, Tensor], folder: Path) -> None:
    own = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("model.")}
    there = {name: tuple(tensor.shape) for name, tensor in head.items()}
    asked = {name: tuple(tensor.shape) for name, tensor in own.items()}
    if there != asked:
        raise ValueError(f"{folder}: its head has the weights {there}, and what it says of itself asks for {asked}")
    for name, tensor in own.items():
        tensor.copy_(head[name])
