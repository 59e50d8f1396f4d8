"""Reward models as folders: what is written is read again, by Transformers too where it can."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, PreTrainedTokenizerFast

from lightrft_multimodal.tiny.texts import learnt_tokenizer
from lightrft_rewards.models.batches import collate_contests
from lightrft_rewards.models.card import RewardCard
from lightrft_rewards.models.loading import HEAD_FILE, load_reward_model, save_reward_model
from lightrft_rewards.models.padding import set_padding_token
from lightrft_rewards.models.passage import Contest, Passage
from lightrft_rewards.models.reward_model import POOLINGS, RewardModel

from .planted import scored, tiny_backbone

pytestmark = pytest.mark.usefixtures("one_thread")

PASSAGES = ((3, 1, 4, 1, 5, 9, 2), (6, 5), (3, 5, 8, 9))


def a_tokenizer() -> PreTrainedTokenizerFast:
    return learnt_tokenizer((), 300, {})


def a_model(**settings) -> RewardModel:
    model = RewardModel(tiny_backbone(3, eos_token_id=2), **settings)
    if model.query is not None:
        torch.nn.init.normal_(model.query.weight, generator=torch.Generator().manual_seed(5))
    return model


def scores_of(model: RewardModel) -> torch.Tensor:
    contest = Contest("", tuple(Passage(ids) for ids in PASSAGES), {})
    return scored(model, collate_contests([contest], model.heads))


def card_of(model: RewardModel, **settings) -> RewardCard:
    return RewardCard(heads=model.heads, pooling=model.pooling, uncertain=model.uncertain, **settings)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("uncertain", [False, True])
def test_a_model_comes_back_with_its_scores(pooling: str, uncertain: bool, tmp_path: Path) -> None:
    model = a_model(pooling=pooling, uncertain=uncertain, heads=("helpful", "safe"), probing_layer=1)
    card = card_of(model, probing_layer=1, max_len=64, means={"helpful": 0.5}, stds={"helpful": 2.0})
    save_reward_model(model, a_tokenizer(), tmp_path, card)
    loaded = load_reward_model(tmp_path)
    assert loaded.card == card
    assert torch.equal(scores_of(loaded.model), scores_of(model))
    assert loaded.tokenizer.get_vocab() == a_tokenizer().get_vocab()
    assert (tmp_path / HEAD_FILE).exists() == (pooling != "last")


def test_transformers_gives_the_same_scores_in_any_padding(tmp_path: Path) -> None:
    model = a_model(heads=("helpful", "safe"))
    tokenizer = a_tokenizer()
    save_reward_model(model, tokenizer, tmp_path, card_of(model))
    classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert type(classifier).__name__ == "LlamaForSequenceClassification"
    assert classifier.config.id2label == {0: "helpful", 1: "safe"}
    pad = tokenizer.pad_token_id
    for side in ("left", "right"):
        for extra in (0, 3):
            width = max(map(len, PASSAGES)) + extra
            rows = [[pad] * (width - len(ids)) for ids in PASSAGES]
            ids = [[*row, *real] if side == "left" else [*real, *row] for row, real in zip(rows, PASSAGES, strict=True)]
            mask = torch.tensor([[token != pad for token in row] for row in ids], dtype=torch.long)
            with torch.no_grad():
                logits = classifier(input_ids=torch.tensor(ids), attention_mask=mask).logits
            torch.testing.assert_close(logits, scores_of(model), rtol=1e-4, atol=1e-5)


@pytest.mark.proof
@pytest.mark.parametrize(
    "family", ["Qwen2", "Qwen3", "Mistral", "Gemma2", "GPTNeoX", "GPT2", "Phi3", "Qwen3Moe", "Granite"]
)
def test_classifiers_of_many_families_score_alike(family: str, tmp_path: Path) -> None:
    """Padded on the right, where absolute positions count from the first token. Of Granite there is no classifier."""
    sizes = {"vocab_size": 300, "num_hidden_layers": 2, "eos_token_id": 2, "bos_token_id": None}
    if family == "GPT2":
        sizes |= {"n_embd": 32, "n_layer": 2, "n_head": 4}
    else:
        sizes |= {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4, "num_key_value_heads": 2}
    if family in ("Gemma2", "Qwen3"):
        sizes["head_dim"] = 8
    if family == "Qwen3Moe":
        sizes |= {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
    config = getattr(transformers, f"{family}Config")(**sizes, pad_token_id=0)
    model = RewardModel(AutoModelForCausalLM.from_config(config).eval(), heads=("helpful", "safe"), probing_layer=1)
    save_reward_model(model, a_tokenizer(), tmp_path, card_of(model, probing_layer=1))
    assert torch.equal(scores_of(load_reward_model(tmp_path).model), scores_of(model))
    assert (tmp_path / HEAD_FILE).exists() == (family == "Granite")
    if family != "Granite":
        classifier = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
        ids = torch.tensor([[*real, *[0] * (9 - len(real))] for real in PASSAGES])
        with torch.no_grad():
            logits = classifier(input_ids=ids, attention_mask=(ids > 0).long()).logits
        torch.testing.assert_close(logits, scores_of(model), rtol=1e-5, atol=1e-6)


def test_an_adapter_is_merged_in_the_copy_alone(tmp_path: Path) -> None:
    pytest.importorskip("peft")
    from lightrft_strategy.lora import add_adapter

    backbone = tiny_backbone(3)
    add_adapter(backbone, rank=2, alpha=4.0)
    model = RewardModel(backbone)
    for name, weight in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(1))
    adapted, names = scores_of(model), set(model.state_dict())
    assert not torch.allclose(adapted, scores_of(a_model()))
    save_reward_model(model, a_tokenizer(), tmp_path, card_of(model))
    torch.testing.assert_close(scores_of(load_reward_model(tmp_path).model), adapted)
    assert set(model.state_dict()) == names


def foreign(folder: Path, *, rows: int = 1, **config) -> RewardModel:
    """A classifier as others save it, without a card."""
    model = a_model(heads=tuple(f"head{row}" for row in range(rows)))
    save_reward_model(model, a_tokenizer(), folder, card_of(model))
    (folder / "reward_model.json").unlink()
    path = folder / "config.json"
    labels = {str(row): f"LABEL_{row}" for row in range(rows)}
    content = json.loads(path.read_text()) | {"id2label": labels, "label2id": {}}
    del content["value_head_prefix"]
    path.write_text(json.dumps(content | config))
    return model


def test_a_foreign_classifier_is_read(tmp_path: Path) -> None:
    model = foreign(tmp_path)
    loaded = load_reward_model(tmp_path)
    assert loaded.card == RewardCard()
    assert torch.equal(scores_of(loaded.model), scores_of(model))


def test_openrlhfs_names_and_numbers_are_read(tmp_path: Path) -> None:
    given = {"value_head_prefix": "value_head", "architectures": ["RewardModel"], "mean": 0.25, "std": 1.5}
    model = foreign(tmp_path, **given)
    weights = load_file(tmp_path / "model.safetensors")
    weights["value_head.weight"] = weights.pop("score.weight")
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = load_reward_model(tmp_path)
    assert (loaded.card.means, loaded.card.stds) == ({"score": 0.25}, {"score": 1.5})
    assert torch.equal(scores_of(loaded.model), scores_of(model))


def test_a_classifier_of_several_rows_has_as_many_heads(tmp_path: Path) -> None:
    foreign(tmp_path, rows=3)
    assert load_reward_model(tmp_path).model.heads == ("score_0", "score_1", "score_2")
    foreign(tmp_path, rows=3, id2label={"0": "style", "1": "facts", "2": "tone"})
    assert load_reward_model(tmp_path).model.heads == ("style", "facts", "tone")


def test_what_is_no_reward_model_is_refused(tmp_path: Path) -> None:
    tiny_backbone().save_pretrained(tmp_path)
    a_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"no weight score.weight \(of such there are lm_head.weight\)"):
        load_reward_model(tmp_path)


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    foreign(tmp_path)
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="safetensors alone"):
        load_reward_model(tmp_path)


def test_a_pickled_backbone_is_not_read(tmp_path: Path) -> None:
    model = a_model(pooling="mean")
    save_reward_model(model, a_tokenizer(), tmp_path, card_of(model))
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(OSError, match="safetensors"):
        load_reward_model(tmp_path)


@pytest.mark.parametrize("content", ["[]", "{", '{"heads": ["a"], "version": 99}', '{"heads": ["a"], "what": 1}'])
def test_a_card_that_cannot_be_read_is_refused(content: str, tmp_path: Path) -> None:
    foreign(tmp_path)
    (tmp_path / "reward_model.json").write_text(content)
    with pytest.raises(ValueError, match=r"reward_model.json is (no card|of another version)"):
        load_reward_model(tmp_path)


def test_a_head_that_does_not_fit_its_card_is_refused(tmp_path: Path) -> None:
    model = a_model()
    save_reward_model(model, a_tokenizer(), tmp_path, replace(card_of(model), heads=("a", "b")))
    with pytest.raises(ValueError, match="its head has 1 rows"):
        load_reward_model(tmp_path)


def test_passages_never_end_with_the_token_that_pads() -> None:
    tokenizer = a_tokenizer()
    set_padding_token(tokenizer, 300)
    assert tokenizer.pad_token == "<|endoftext|>"
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.chat_template = "{{ '<|im_start|>' }}"
    set_padding_token(tokenizer, 300)
    assert tokenizer.pad_token == "<|endoftext|>"
    tokenizer.chat_template += "{{ '<|endoftext|>' }}"
    tokenizer.pad_token = tokenizer.eos_token
    with pytest.raises(ValueError, match="no embedding to spare"):
        set_padding_token(tokenizer, len(tokenizer))
    set_padding_token(tokenizer, len(tokenizer) + 1)
    assert tokenizer.pad_token_id == len(tokenizer) - 1
