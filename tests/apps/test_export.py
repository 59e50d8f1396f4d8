"""`lightrft export`: from any checkpoint a folder that transformers loads; what is missing or damaged is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from .bytes_of_files import checksums_read, everything, flip

pytestmark = pytest.mark.usefixtures("one_thread")

Command = Callable[..., Any]


def train(**flags: Any) -> Path:
    from lightrft_apps import RLConfig, train

    train(RLConfig.create(**flags, progress=False))
    return Path(flags["output_dir"])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def runs(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """runs(name, **flags) -> the folder of a run of 3 steps, a checkpoint after each, the last two kept."""
    root = tmp_path_factory.mktemp("runs")
    rows = [json.dumps({"input": f"{i}+{i}=", "label": str(2 * i)}) + "\n" for i in range(8)]
    (root / "prompts.jsonl").write_text("".join(rows))
    (root / "reward.py").write_text(
        "def score(prompts, responses, labels):\n    return [len({*r}) for r in responses]\n"
    )
    made: dict[str, Path] = {}

    def run(name: str, **flags: Any) -> Path:
        if name not in made:
            usual = {
                "pretrain": str(tiny_folder),
                "prompt_data": str(root / "prompts.jsonl"),
                "reward_fn": f"{root / 'reward.py'}:score",
                "output_dir": str(root / name),
                "rollout_batch_size": 2,
                "n_samples_per_prompt": 2,
                "generate_max_len": 6,
                "actor_learning_rate": 0.01,
                "lr_warmup_ratio": 0.0,
                "reward_workers": 1,
                "max_steps": 3,
                "save_steps": 1,
            }
            made[name] = train(**usual | flags)
        return made[name]

    return run


@pytest.fixture
def plain(runs: Callable[..., Path]) -> Path:
    return runs("plain", save_hf_ckpt=True)


@pytest.fixture
def half(runs: Callable[..., Path]) -> Path:
    return runs("half", bf16=True, freeze_prefix="model.embed_tokens", enable_ema=True, ema_beta=0.5)


def test_the_newest_checkpoint_exports_to_the_bytes_of_what_the_run_left(
    plain: Path, lightrft: Command, tmp_path: Path
) -> None:
    ended = lightrft("export", str(plain), str(tmp_path / "deep" / "exported"))
    assert (ended.code, "step_3" in ended.err, "float32" in ended.err) == (0, True, True), ended.err
    assert contents(tmp_path / "deep" / "exported") == contents(plain / "final")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["exported"]


def test_with_every_checkpoint_lies_the_policy_as_it_was_then(plain: Path, lightrft: Command, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    checkpoints = sorted((plain / "checkpoints").iterdir())
    assert [path.name for path in checkpoints] == ["step_2", "step_3"]
    before, after = (contents(path / "huggingface") for path in checkpoints)
    assert after == contents(plain / "final")
    assert before.keys() == after.keys()
    assert before["model.safetensors"] != after["model.safetensors"]
    assert lightrft("export", checkpoint=plain, output=tmp_path / "second", step=2).code == 0
    assert contents(tmp_path / "second") == before
    model = AutoModelForCausalLM.from_pretrained(checkpoints[0] / "huggingface")
    tokenizer = AutoTokenizer.from_pretrained(checkpoints[0] / "huggingface")
    assert model(**tokenizer("1+2=", return_tensors="pt")).logits.isfinite().all()


def test_a_run_in_bfloat16_is_exported_in_it_and_its_masters_in_float32(
    half: Path, lightrft: Command, tmp_path: Path
) -> None:
    ended = lightrft("export", str(half), str(tmp_path / "half"))
    assert (ended.code, "1 weight is that of" in ended.err) == (0, True), ended.err
    assert contents(tmp_path / "half") == contents(half / "final")
    assert lightrft("export", str(half), str(tmp_path / "whole"), dtype="float32").code == 0
    rounded, masters = (load_file(tmp_path / name / "model.safetensors") for name in ("half", "whole"))
    assert all(torch.equal(masters[name].bfloat16(), rounded[name]) for name in rounded)
    assert any(not torch.equal(masters[name], rounded[name].float()) for name in rounded)
    assert lightrft("export", str(half), str(tmp_path / "average"), ema="true").code == 0
    assert contents(tmp_path / "average") == contents(half / "final_ema") != contents(half / "final")


def test_a_checkpoint_by_itself_needs_only_the_model_it_began_from(
    plain: Path, tiny_folder: Path, lightrft: Command, tmp_path: Path
) -> None:
    alone = tmp_path / "copied" / "alone"
    shutil.copytree(plain / "checkpoints" / "step_3", alone)
    (tmp_path / "config.yaml").write_text("of: another program\n")
    ended = lightrft("export", str(alone), str(tmp_path / "exported"))
    assert (ended.code, "no config.yaml of its run is there: set --pretrain" in ended.err) == (1, True), ended.err
    ended = lightrft("export", str(alone), str(tmp_path / "exported"), "--merge", pretrain=tiny_folder)
    assert ended.code == 1
    assert "--merge needs the run's config.yaml, which is not there: give RUN/checkpoints/step_N" in ended.err
    assert lightrft("export", str(alone), str(tmp_path / "exported"), pretrain=tiny_folder).code == 0
    assert contents(tmp_path / "exported") == contents(plain / "final")


def changed(run: Path, there: str, here: str) -> None:
    config = run / "config.yaml"
    assert config.read_text().count(there) == 1
    config.write_text(config.read_text().replace(there, here))


def test_a_strangers_configuration_lets_no_code_run(
    plain: Path, tiny_folder: Path, lightrft: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lightrft_apps.models import loading

    run = tmp_path / "run"
    shutil.copytree(plain, run)
    changed(run, "trust_remote_code: false", "trust_remote_code: true")
    trusted: list[bool] = []
    loaded = loading.load_model
    monkeypatch.setattr(loading, "load_model", lambda of: (trusted.append(of.trust_remote_code), loaded(of))[1])
    ended = lightrft("export", str(run), str(tmp_path / "out"))
    assert (ended.code, trusted) == (1, [])
    assert f"the run used --trust_remote_code: add it if you trust {tiny_folder}" in ended.err
    assert lightrft("export", str(run), str(tmp_path / "out"), "--trust_remote_code").code == 0
    assert trusted == [True]


def test_a_kernel_that_the_run_attended_with_is_not_needed(plain: Path, lightrft: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(plain, run)
    changed(run, "attn_implementation: null", "attn_implementation: no_such_kernel")
    ended = lightrft("export", str(run), str(tmp_path / "out"))
    assert ended.code == 0, ended.err
    assert contents(tmp_path / "out") == contents(plain / "final")


@pytest.fixture
def adapted(runs: Callable[..., Path]) -> Path:
    return runs("adapted", lora_rank=2, algorithm="ppo", max_steps=2, critic_learning_rate=0.1)


def test_an_adapter_is_exported_as_it_is_or_merged(
    adapted: Path, tiny_folder: Path, lightrft: Command, tmp_path: Path
) -> None:
    assert lightrft("export", str(adapted), str(tmp_path / "adapter")).code == 0
    assert contents(tmp_path / "adapter") == contents(adapted / "final")
    assert lightrft("export", str(adapted), str(tmp_path / "one"), "--merge").code == 0
    assert lightrft("merge-lora", pretrain=tiny_folder, adapter=adapted / "final", output=tmp_path / "other").code == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "other")


def test_a_critic_is_exported_as_a_token_classifier_that_gives_its_values(
    runs: Callable[..., Path], lightrft: Command, tmp_path: Path
) -> None:
    from transformers import AutoModelForTokenClassification

    run = runs("critic", algorithm="ppo", max_steps=1, critic_learning_rate=0.1)
    assert lightrft("export", str(run), str(tmp_path / "critic"), model="critic").code == 0
    found = AutoModelForTokenClassification.from_pretrained(tmp_path / "critic")
    (path,) = (run / "checkpoints" / "step_1" / "critic").glob("*.safetensors")
    masters = {name.removeprefix("master."): tensor for name, tensor in load_file(path).items()}
    ids = torch.arange(9)[None]
    with torch.no_grad():
        hidden = found.model(input_ids=ids).last_hidden_state
        expected = hidden @ masters["value_head.weight"].T + masters["value_head.bias"]
        assert torch.allclose(found(input_ids=ids).logits, expected, atol=1e-6)
    assert expected.abs().max() > 0, "it has learnt something"
    assert all(torch.equal(tensor, masters[f"model.{name}"]) for name, tensor in found.model.named_parameters())


@pytest.mark.proof
def test_the_critic_of_an_adapter_is_merged(
    adapted: Path, tiny_folder: Path, lightrft: Command, tmp_path: Path
) -> None:
    ended = lightrft("export", str(adapted), str(tmp_path / "critic"), model="critic")
    assert (ended.code, "set --merge" in ended.err) == (1, True)
    assert lightrft("export", str(adapted), str(tmp_path / "critic"), "--merge", model="critic").code == 0
    found, base = (load_file(folder / "model.safetensors") for folder in (tmp_path / "critic", tiny_folder))
    assert {"score.weight", "score.bias"} <= found.keys()
    changed = {name for name in base if name in found and not torch.equal(base[name], found[name])}
    assert changed == {name for name in base if "_proj" in name}


def test_the_best_checkpoint_is_that_of_the_best_accuracy(plain: Path, lightrft: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(plain, run)
    lines = [json.dumps({"step": step, "eval/accuracy": accuracy}) for step, accuracy in ((2, 0.5), (3, 0.25))]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert lightrft("export", str(run), str(tmp_path / "best"), "--best").code == 0
    assert contents(tmp_path / "best") == contents(plain / "checkpoints" / "step_2" / "huggingface")


DAMAGES = {"is damaged: its checksum does not match": flip, "is missing": Path.unlink}
WEIGHTS = Path("policy", "tensors_00000.safetensors")


@pytest.mark.parametrize("words", DAMAGES)
def test_a_damaged_file_of_a_run_is_named_and_the_newest_whole_checkpoint_is_exported(
    plain: Path, lightrft: Command, tmp_path: Path, words: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(plain, run)
    bad = run / "checkpoints" / "step_3" / WEIGHTS
    DAMAGES[words](bad)
    before = everything(run)
    ended = lightrft("export", str(run), str(tmp_path / "out"))
    assert (ended.code, ended.out) == (0, ""), ended.err
    (warning,) = [line for line in ended.err.splitlines() if "warning" in line]
    assert warning.startswith(f"warning: {bad} {words}") and warning.endswith(": step_2 is read instead")
    assert contents(tmp_path / "out") == contents(plain / "checkpoints" / "step_2" / "huggingface")
    assert everything(run) == before, "it only reads"
    DAMAGES[words](run / "checkpoints" / "step_2" / "trainer.json")
    ended = lightrft("export", str(run), str(tmp_path / "none"))
    assert (ended.code, f"--checkpoint {run} has no whole checkpoint" in ended.err) == (1, True)
    assert f"{bad} {words}" in ended.err and f"step_2/trainer.json {words}" in ended.err
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("words", DAMAGES)
@pytest.mark.parametrize("chosen", ["step", "best", "folder"])
def test_a_checkpoint_that_is_named_is_the_only_one_and_its_damaged_file_ends_the_export(
    plain: Path, lightrft: Command, tmp_path: Path, words: str, chosen: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(plain, run)
    bad = run / "checkpoints" / "step_3" / WEIGHTS
    DAMAGES[words](bad)
    (run / "metrics.jsonl").write_text(json.dumps({"step": 3, "eval/accuracy": 0.5}) + "\n")
    before = everything(run)
    place = run / "checkpoints" / "step_3" if chosen == "folder" else run
    flags: dict[str, Any] = {"step": {"step": 3}, "best": {"best": "true"}, "folder": {}}[chosen]
    ended = lightrft("export", str(place), str(tmp_path / "out"), **flags)
    assert (ended.code, f"{bad} {words}" in ended.err) == (1, True), ended.err
    assert not (tmp_path / "out").exists() and everything(run) == before


@pytest.mark.parametrize("named", [True, False])
def test_no_file_is_read_twice_for_its_checksum(
    plain: Path, lightrft: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    checkpoint = plain / "checkpoints" / "step_3"
    read = checksums_read(checkpoint, monkeypatch)
    assert lightrft("export", str(checkpoint if named else plain), str(tmp_path / "out")).code == 0
    files = {path.relative_to(checkpoint) for path in checkpoint.rglob("*") if path.is_file()}
    wanted = {WEIGHTS} if named else files - {Path("manifest.json")}
    assert read == {path.as_posix(): 1 for path in wanted}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"step": 9}, "--step 9: {run} has checkpoints of 2, 3"),
        ({"best": "true"}, "--best: no checkpoint of {run} is of a step that was evaluated: set --step"),
        (
            {"model": "critic"},
            "--model critic: {run}/checkpoints/step_3 holds huggingface, policy, and no trained critic",
        ),
        ({"merge": "true"}, "--merge: {run}/checkpoints/step_3 is of no run with --lora_rank"),
        ({"ema": "true"}, "step_3/policy holds no weights named ema.*"),
        ({"step": 2, "best": "true"}, "--step and --best are two choices of a checkpoint"),
    ],
    ids=str,
)
def test_what_a_run_does_not_have_is_told(
    plain: Path, lightrft: Command, tmp_path: Path, flags: dict[str, Any], message: str
) -> None:
    ended = lightrft("export", str(plain), str(tmp_path / "out"), **flags)
    assert ended.code == (2 if len(flags) == 2 else 1)
    assert message.format(run=plain) in ended.err
    assert not (tmp_path / "out").exists()


def test_a_model_of_another_size_is_refused_by_a_weight(
    plain: Path, tiny_model: Callable[..., Any], tiny_folder: Path, lightrft: Command, tmp_path: Path
) -> None:
    shutil.copytree(tiny_folder, tmp_path / "other")
    tiny_model(vocab_size=16, eos_token_id=0, intermediate_size=32).save_pretrained(tmp_path / "other")
    ended = lightrft("export", str(plain), str(tmp_path / "out"), pretrain=tmp_path / "other")
    assert ended.code == 1
    assert "mlp.gate_proj.weight of shape [96, 64], which is [32, 64] in the model" in ended.err
