"""Every recipe in examples/ runs: by its own command, with its own flags, on a tiny model and a few rows of its data.

The rows have the form in which the data sets are published. What a recipe is about stays as it stands: algorithm,
rewards, losses, formats, packing, precision, freezing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from lightrft_apps import RLConfig
from lightrft_apps.config import COMMANDS, stored_config
from lightrft_apps.config.reading.schema import fields_of
from lightrft_multimodal.tiny import Sizes, build_qwen2_5_vl, build_qwen2_audio

from ..rewards.preferences import published

pytestmark = pytest.mark.usefixtures("one_thread", "known_bandwidth")

ROOT = Path(__file__).parents[2]
RECIPES = sorted(ROOT.glob("examples/*.yaml"))
ASKING = ("chat_qwen2_5_vl_7b", "eval_benchmarks")
"""Recipes that train nothing."""
"""Those of runs; what is evaluated is run in tests/apps/evaluating."""
SCRIPTS = sorted(ROOT.glob("examples/*/*.sh"))

SHORT = {"max_steps": 1, "max_samples": 6, "progress": False}
RL = SHORT | {
    "pretrain": "<sees>",
    "rollout_batch_size": 2,
    "n_samples_per_prompt": 2,
    "generate_max_len": 4,
    "train_batch_size": 4,
}
HELD_OUT = {"eval_max_samples": 2, "eval_generate_max_len": 4}
EMBEDDED = {"engine_type": "embedded"} | {
    name: fields_of(RLConfig)[name].default
    for name in ("engine_mem_util", "enable_engine_sleep", "enforce_eager", "max_num_seqs")
}
"""Instead of vLLM, whose runs are those of test_vllm_training.py."""
SUPERVISED = SHORT | {"pretrain": "<sees>", "train_batch_size": 2}
GEO3K = {"prompt_data": "geo3k:<geo3k>", "eval_dataset": "geo3k:<geo3k>", "eval_split": "train"}
GSM8K = {"prompt_data": "gsm8k:<gsm8k>", "eval_dataset": "gsm8k:<gsm8k>", "eval_split": "train"}
HPDV3 = {"train_data": "hpdv3:<hpdv3>", "eval_data": "hpdv3:<hpdv3>", "eval_split": "train"}
HEARD = {"train_data": "audio-alpaca:<alpaca>", "eval_data": "omnirewardbench-t2a:<omni>", "eval_split": "train"}
SAFE = {"train_data": "pku_saferlhf:<safe>", "eval_data": "pku_saferlhf:<safe>", "eval_split": "train"}
FEW = {"eval_max_samples": 2}

TINY: dict[str, dict[str, Any]] = {
    "grm_qwen2_5_vl_3b": SUPERVISED | {"train_data": "imagegen-cot-reward-5k:<imagegen>"},
    "grm_rl_qwen2_5_vl_3b": RL | {"prompt_data": "judge:hpdv3:<hpdv3>"},
    "grm_text": SUPERVISED | FEW,
    "grpo_avqa_qwen2_audio_7b": RL | {"pretrain": "<hears>", "prompt_data": "avqa:<avqa>"},
    "grpo_geo3k_qwen2_5_vl_7b": RL | HELD_OUT | GEO3K,
    "grpo_gsm8k_qwen2_5_0_5b": RL | HELD_OUT | GSM8K | EMBEDDED,
    "grpo_smollm2": RL | HELD_OUT | {"reward_workers": 1},
    "grpo_smollm2_vllm": RL | HELD_OUT | EMBEDDED | {"reward_workers": 1},
    "ppo_geo3k_qwen2_5_vl_7b": RL | HELD_OUT | GEO3K | {"max_steps": 2, "freezing_actor_steps": 1},
    "safety_rlhf": RL | EMBEDDED | {"prompt_data": "<safe>/train.jsonl", "reward_pretrain": "<two heads>"},
    "sft_smollm2": SUPERVISED | FEW,
    "srm_qwen2_5_vl_3b": SUPERVISED | HPDV3,
    "srm_qwen2_audio_7b": SUPERVISED | HEARD | {"pretrain": "<hears>"},
    "srm_safety": SUPERVISED | SAFE,
    "srm_text": SUPERVISED | FEW,
}
"""Recipe -> what is made smaller of it, and where its model and its data are. <names> are places of the test's own."""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny models, and a few rows of each data set as it is published."""
    home = tmp_path_factory.mktemp("examples")
    sizes = Sizes(max_pixels=16 * 16, min_pixels=8 * 8)
    build_qwen2_5_vl(home / "sees", sizes)
    build_qwen2_audio(home / "hears", sizes)
    figures = [_picture(home / f"figures/{number}.png", number) for number in range(2)]
    sounds = [_sound(home / f"avqa/sounds/{number}.wav", number) for number in range(2)]
    solved = {"question": "Two and two?", "answer": "They are four.\n#### 4"}
    published.write_jsonl([solved, solved], home / "gsm8k/train.jsonl")
    shown = [{"bytes": figure.read_bytes(), "path": figure.name} for figure in figures]
    solved = {"problem": "<image>Find x.", "answer": "4"}
    published.write_parquet([solved | {"images": [each]} for each in shown], home / "geo3k/train.parquet")
    heard = {"question_text": "What sounds in the video?", "multi_choice": ["a bell", "a dog"], "answer": 1}
    rows = [heard | {"audio_path": str(sound.relative_to(home / "avqa"))} for sound in sounds]
    published.write_jsonl(rows, home / "avqa/train.jsonl")
    for number in range(2):
        for side in "ab":
            _picture(home / f"hpdv3/images/{number}{side}.jpg", number)
        _picture(home / f"imagegen/images/{number}.png", number)
    published.write_json([published.hpdv3(0), published.hpdv3(1)], home / "hpdv3/train.json")
    published.write_json([published.imagegen_cot(1), published.imagegen_cot(2)], home / "imagegen/train.json")
    good, bad = ({"bytes": sound.read_bytes(), "path": sound.name} for sound in sounds)
    row = published.audio_alpaca(chosen=good, rejected=bad)
    published.write_parquet([row, row], home / "alpaca/train.parquet")
    for model in "ab":
        _sound(home / f"omni/model_{model}/1.wav", ord(model))
    row = published.omni("audio", response1_path="model_a/1.wav", response2_path="model_b/1.wav")
    published.write_parquet([row, row], home / "omni/train.parquet")
    published.write_jsonl([published.safe_rlhf(), published.safe_rlhf()], home / "safe/train.jsonl")
    return {path.name: path for path in home.iterdir()}


@pytest.fixture(scope="module")
def two_heads(places: Mapping[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reward model that srm_safety makes, which safety_rlhf is judged by."""
    folder = tmp_path_factory.mktemp("srm_safety")
    run("srm_safety", places, folder)
    return folder / "final"


def run(recipe: str, places: Mapping[str, Path], folder: Path) -> None:
    """Run a recipe on what is tiny, into a folder."""
    path = ROOT / f"examples/{recipe}.yaml"
    command = COMMANDS[type(stored_config(path))]
    flags = TINY[recipe]
    words = [
        (f"--{name}", _filled(str(value).lower() if value is False else str(value), places))
        for name, value in flags.items()
    ]
    import_module(f"lightrft_apps.commands.{command}").main(
        ["--config", str(path), "--output_dir", str(folder), *chain.from_iterable(words)]
    )


def test_every_recipe_is_run() -> None:
    assert [path.stem for path in RECIPES] == sorted([*TINY, *ASKING])


@pytest.mark.parametrize("recipe", sorted(TINY))
def test_a_recipe_runs_to_its_end(
    recipe: str,
    places: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.chdir(ROOT)
    if recipe == "safety_rlhf":
        places = places | {"two heads": request.getfixturevalue("two_heads")}
    run(recipe, places, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == TINY[recipe]["max_steps"]
    assert (tmp_path / "run/final/config.json").is_file()


def test_an_evaluation_and_a_conversation_run_to_their_end(
    places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    (tmp_path / "asked.txt").write_text("What is it?\n")
    files = {"input": tmp_path / "asked.txt", "output": tmp_path / "said.jsonl"}
    few = {"pretrain": places["sees"], "generate_max_len": 4, "progress": "false"}
    for command, recipe, flags in (
        ("eval", "eval_benchmarks", few | {"max_samples": 2, "output_dir": tmp_path}),
        ("chat", "chat_qwen2_5_vl_7b", few | files),
    ):
        words = chain.from_iterable((f"--{name}", str(value)) for name, value in flags.items())
        import_module(f"lightrft_apps.commands.{command}").main(["--config", f"examples/{recipe}.yaml", *words])
    assert json.loads((tmp_path / "eval.json").read_text())
    assert len((tmp_path / "said.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_every_script_is_a_line_that_runs_its_recipe(script: Path) -> None:
    if script.parent.name == "launch":
        return
    line = script.read_text().splitlines()[-1]
    found = re.search(r"lightrft(?: launch --nproc_per_node \S+)? (\S+) --config (\S+)", line)
    assert found is not None
    assert found[1] == ("chat" if "chat" in found[2] else COMMANDS[type(stored_config(ROOT / found[2]))])
    assert script.stat().st_mode & 0o111


def _filled(text: str, places: Mapping[str, Path]) -> str:
    return re.sub("<([^>]+)>", lambda name: str(places[name[1]]), text)


def _picture(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def _sound(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(seed).normal(0, 0.1, 1600), 16_000)
    return path
