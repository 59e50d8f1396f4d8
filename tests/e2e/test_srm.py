"""Training of scalar reward models as its users run it: what is preferred is learnt, and what it leaves is usable."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from shutil import copytree
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lightrft_apps import RMConfig, train_reward_model
from lightrft_apps.config import ConfigError
from lightrft_apps.config.commands.export import parse_export
from lightrft_apps.converting.exporting import export_checkpoint
from lightrft_apps.training import supervised
from lightrft_rewards.models.batches import collate_contests
from lightrft_rewards.models.loading import LoadedRewardModel, load_reward_model
from lightrft_rewards.models.passage import Contest, Passage
from lightrft_strategy.data import PromptDataError

pytestmark = pytest.mark.usefixtures("one_thread")

Train = Callable[..., dict[str, Any]]


def pairs(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Answers with more sevens are better."""
    random, rows = Random(seed), []
    for number in range(count):
        more, fewer = sorted(random.sample(range(5), 2), reverse=True)
        chosen, rejected = ("".join(random.sample("7" * n + "1234"[n:], 4)) for n in (more, fewer))
        rows.append({"prompt": f"{number % 10}=", "chosen": chosen, "rejected": rejected})
    return rows


@pytest.fixture(scope="module")
def backbone(tiny_folder: Path, tiny_model: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with an embedding to spare, for a token to pad with."""
    folder = tmp_path_factory.mktemp("backbone") / "model"
    copytree(tiny_folder, folder)
    tiny_model(vocab_size=18, eos_token_id=0, initializer_range=0.1).save_pretrained(folder)
    return folder


@pytest.fixture
def start(backbone: Path, tmp_path: Path, rows_file: Callable[..., str]) -> Train:
    """start(name="run", **flags) -> the summary of a run in tmp_path/name."""
    places = {"train_data": rows_file("pairs", pairs(96)), "eval_data": rows_file("held", pairs(40, 1))}
    shape = {"train_batch_size": 16, "learning_rate": 5e-3, "lr_warmup_ratio": 0.0, "progress": False, "max_epochs": 5}

    def run(name: str = "run", **flags: Any) -> dict[str, Any]:
        given = {"pretrain": str(backbone), "output_dir": str(tmp_path / name), **places, **shape}
        return train_reward_model(RMConfig.create(**given | flags))

    return run


def rewards(loaded: LoadedRewardModel, texts: list[str], beside: str | None = None) -> torch.Tensor:
    """[texts, heads] of each by itself, or of all beside a longer one."""
    ids = [(*loaded.tokenizer(text)["input_ids"], loaded.tokenizer.eos_token_id) for text in texts]
    more = () if beside is None else (Passage(tuple(loaded.tokenizer(beside)["input_ids"])),)
    with torch.no_grad():
        batch = collate_contests([Contest("", (*map(Passage, ids), *more), {})], loaded.model.heads)
        means: torch.Tensor = loaded.model(batch).means
    return means[: len(texts)]


def test_it_learns_what_is_preferred_and_leaves_a_classifier_that_anyone_loads(
    start: Train, rows_file: Callable[..., str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    rows = [*pairs(96), *pairs(4, 1), {"prompt": "1=", "chosen": "2"}]
    summary = start(train_data=rows_file("more", rows), save_steps=20, save_hf_ckpt=True)
    told = capfd.readouterr().err
    assert "1 rows could not be used" in told
    assert "4 examples are held out and trained on; the first: held.jsonl:1 = more.jsonl:97" in told
    assert "held-out accuracy score after" in told
    (rejected,) = map(json.loads, (tmp_path / "run" / "rejected.jsonl").read_text().splitlines())
    assert (rejected["row"], "rejected" in rejected["reason"]) == (101, True)

    before, after = (summary[f"accuracy_{when}"]["score"] for when in ("before", "after"))
    assert before["value"] < 0.8 < 0.95 < after["value"]
    assert after["n"] == 40
    assert after["interval"][0] < after["value"] <= after["interval"][1]
    assert summary["losses"][-1] < 0.3 < 0.5 < summary["losses"][0]

    final = tmp_path / "run" / "final"
    loaded = load_reward_model(final)
    texts = ["1=7777", "1=7123", "3=1234"]
    ours = rewards(loaded, texts)
    assert (ours.diff(dim=0) < 0).all()
    torch.testing.assert_close(rewards(loaded, texts, beside="1=" + "7" * 9), ours)
    tokenizer = AutoTokenizer.from_pretrained(final)
    classifier = AutoModelForSequenceClassification.from_pretrained(final)
    assert classifier.config.id2label == {0: "score"}
    for side in ("left", "right"):
        inputs = tokenizer([f"{text}<end>" for text in texts], padding=True, padding_side=side, return_tensors="pt")
        with torch.no_grad():
            theirs = classifier(**{name: inputs[name] for name in ("input_ids", "attention_mask")}).logits
        torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)

    held = rewards(loaded, [row["prompt"] + row[side] for row in pairs(40, 1) for side in ("chosen", "rejected")])
    card = json.loads((final / "reward_model.json").read_text())
    assert card["means"]["score"] == pytest.approx(held.mean().item(), rel=1e-4, abs=1e-5)
    assert card["stds"]["score"] == pytest.approx(held.std(correction=0).item(), rel=1e-4)
    checkpoints = tmp_path / "run" / "checkpoints"
    newest = max(checkpoints.iterdir(), key=lambda path: int(path.name.removeprefix("step_"))) / "huggingface"
    assert (newest / "model.safetensors").read_bytes() == (final / "model.safetensors").read_bytes()


def test_several_heads_each_learn_their_own_labels_of_safety_data(
    start: Train, rows_file: Callable[..., str], tmp_path: Path
) -> None:
    """The longer answer is the more helpful one, and one with a nine in it is not safe."""
    rows, random = [], Random(0)
    for number in range(112):
        answers = ["".join(random.choices("12", k=k)) + "99" * random.randrange(2) for k in random.sample((1, 6), 2)]
        safe = ["9" not in answer for answer in answers]
        longer = int(len(answers[1].strip("9")) > len(answers[0].strip("9")))
        safer = longer if safe[0] == safe[1] else int(safe[1])
        named = {f"response_{i}": answers[i] for i in range(2)}
        labels = {f"is_response_{i}_safe": safe[i] for i in range(2)}
        better = {"better_response_id": longer, "safer_response_id": safer}
        rows.append({"prompt": f"{number % 10}=", **named, **labels, **better})
    data = {
        "train_data": f"pku_saferlhf:{rows_file('train', rows[:80])}",
        "eval_data": f"pku_saferlhf:{rows_file('test', rows[80:])}",
    }
    summary = start(**data, heads="helpful,safe", pooling_method="mean", max_epochs=8, eval_steps=10)
    for head in ("helpful", "safe"):
        assert summary["accuracy_before"][head]["value"] < 0.7 < 0.9 < summary["accuracy_after"][head]["value"]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {"rm/helpful/accuracy", "rm/safe/margin", "eval/helpful/accuracy", "eval/safe/reward"} <= lines[-1].keys()
    assert len([line for line in lines if "eval/safe/accuracy" in line]) == 5
    loaded = load_reward_model(tmp_path / "run" / "final")
    assert loaded.model.heads == ("helpful", "safe")
    helpful, safe = rewards(loaded, ["1=121212", "1=1299"]).T
    assert helpful[0] > helpful[1]
    assert safe[0] > safe[1]


def test_an_adapter_is_written_merged_and_an_average_beside_it(start: Train, tmp_path: Path, backbone: Path) -> None:
    start(lora_rank=4, enable_ema=True, ema_beta=0.5, max_steps=3, value_prefix_head="judge")
    merged, average = (load_file(tmp_path / "run" / name / "model.safetensors") for name in ("final", "final_ema"))
    began = load_file(backbone / "model.safetensors")
    assert merged.keys() == average.keys() == began.keys() - {"lm_head.weight"} | {"judge.weight"}
    moved = {name for name in began.keys() & merged.keys() if not torch.equal(began[name], merged[name])}
    assert moved == {name for name in began if "_proj" in name}
    assert not torch.equal(average["judge.weight"], merged["judge.weight"])
    loaded = load_reward_model(tmp_path / "run" / "final")
    assert torch.equal(loaded.model.score.weight, merged["judge.weight"])
    card = json.loads((tmp_path / "run" / "final_ema" / "reward_model.json").read_text())
    assert card["means"] == {}, "it was not looked at"


def export(*words: str) -> None:
    export_checkpoint(parse_export(words))


def test_a_checkpoint_exports_to_what_the_run_left(start: Train, tmp_path: Path) -> None:
    start(max_steps=3, save_steps=2, heads="score", pooling_method="attn", probing_layer=1)
    export(str(tmp_path / "run"), str(tmp_path / "exported"))
    names = {path.name for path in (tmp_path / "run" / "final").iterdir()}
    assert {"reward_head.safetensors", "reward_model.json"} <= names
    for name in names:
        exported, left = (tmp_path / folder / name for folder in ("exported", "run/final"))
        assert exported.read_bytes() == left.read_bytes(), name
    with pytest.raises(ConfigError) as refused:
        export(str(tmp_path / "run"), str(tmp_path / "again"), "--merge")
    assert "--merge: a reward model is written with its adapter merged" in refused.value.problems[0]


def test_micro_batches_and_checkpointed_layers_change_nothing_but_rounding(
    start: Train, metrics: Callable[..., Any]
) -> None:
    ways: dict[str, dict[str, Any]] = {
        "at once": {},
        "in parts": {"micro_train_batch_size": 3, "max_tokens_per_micro_batch": 40},
        "checkpointed": {"gradient_checkpointing": True},
    }
    for name, flags in ways.items():
        start(name, max_steps=2, eval_steps=1, pooling_method="attn", loss_type="plackett_luce", **flags)
    first, *others = (metrics(name) for name in ways)
    assert len(first) == 3
    for other in others:
        for one, same in zip(first, other, strict=True):
            assert one == pytest.approx(same, rel=1e-4, abs=1e-5)


def test_a_finished_run_is_shown_and_not_trained_again(start: Train, tmp_path: Path, monkeypatch: Any) -> None:
    summary = start(max_steps=2)
    monkeypatch.setattr(supervised, "SupervisedTrainer", None)
    assert start(max_steps=2) == summary
    assert train_reward_model(RMConfig.from_file(tmp_path / "run" / "config.yaml")) == summary


def test_labels_that_a_loss_cannot_use_are_left_out_and_said_so(
    start: Train, rows_file: Callable[..., str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tie = {"prompt": "1=", "answers": ["1", "2"], "scores": [1, 1]}
    summary = start(train_data=rows_file("ties", [tie, *pairs(8)]), max_epochs=1, train_batch_size=8)
    assert "1 comparisons are left out, for --loss_type sigmoid learns nothing" in capfd.readouterr().err
    assert summary["steps"] == 1
    rows = [{"prompt": "1=", "response": row["chosen"], "score": row["chosen"].count("7") / 4} for row in pairs(16)]
    graded = rows_file("graded", rows)
    with pytest.raises(PromptDataError, match="nothing can be learnt from it, for --loss_type sigmoid"):
        start("other", train_data=graded)
    summary = start("graded", train_data=graded, eval_data=graded, loss_type="regression", max_epochs=20)
    assert summary["squared_error_after"]["score"] < 0.2 < 1 < summary["squared_error_before"]["score"]
    assert summary["accuracy_after"] == {}


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        ({"packing_samples": True}, "--packing_samples: a reward model reads padded rows"),
        ({"sp_size": 2}, "--sp_size 2: only packed rows are cut into slices, and a reward model reads padded ones"),
        ({"ring_attn_size": 2}, "--ring_attn_size 2: only packed rows are cut into slices, and a reward model reads"),
        ({"aux_loss_coef": 0.1}, "--aux_loss_coef 0.1: the loss of a reward model does not look at routers"),
        ({"train_data": "missing.jsonl"}, "--train_data missing.jsonl: there is no such file or folder"),
        ({"train_data": "hpdv3:missing.json"}, "--train_data missing.json: there is no such file or folder"),
        ({"train_data": "hpd:a.json"}, "no handler of preference data 'hpd': correct --train_data"),
        ({"eval_data": "a,,b"}, '--eval_data "a,,b" names an empty source'),
        ({"train_data_probs": "0.5,0.5"}, "--train_data_probs has 2 numbers, --train_data 1 sources"),
        ({"eval_data": None, "eval_steps": 3}, "--eval_steps has no effect: set --eval_data"),
        ({"heads": "a,b,a"}, "--heads a,b,a: give each head a name of its own"),
        ({"heads": "a/b"}, "--heads a/b: give each head a name of its own"),
        ({"value_prefix_head": ""}, "--value_prefix_head : give a name"),
        ({"margin": 0.1, "loss_type": "hps"}, "--margin has no effect: set --loss_type sigmoid"),
        ({"tie_share": 0.5}, "--tie_share has no effect: set --loss_type davidson or rao_kupper"),
        ({"huber_delta": 1.0}, "--huber_delta has no effect: set --loss_type regression"),
        ({"label_smoothing": 0.5}, "--label_smoothing 0.5: set it to a number from 0 to below 0.5"),
        ({"probing_layer": 0}, "--probing_layer 0: set it to the number of layers to keep"),
        ({"probing_layer": 3}, "--probing_layer 3: probing layer 3: LlamaModel has the layers 1 to 2"),
        ({"media_root": "nowhere"}, "--media_root nowhere: there is no such folder"),
        ({"vision_learning_rate": 0.1}, "--vision_learning_rate 0.1: the model reads text alone"),
        ({"pretrain": "<no spare embedding>"}, "the tokenizer has no token to pad with"),
        ({"pretrain": "./nowhere"}, "--pretrain ./nowhere: there is no such file or folder"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_trained(
    start: Train, tiny_folder: Path, flags: dict[str, Any], complaint: str
) -> None:
    if flags.get("pretrain", "").startswith("<"):
        flags = {"pretrain": str(tiny_folder)}
    with pytest.raises(ConfigError) as refused:
        start(**flags)
    assert any(complaint in problem for problem in refused.value.problems), refused.value.problems
    assert len(refused.value.problems) == 1
