"""`lightrft plan`: what it says of a run, what it advises, and that following the advice does what was said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lightrft_apps.config.commands.plan import PlanCommand, parse_plan
from lightrft_apps.config.reading.schema import fields_of
from lightrft_apps.config.rl import RLConfig
from lightrft_multimodal.tiny import build_qwen2_5_omni, build_qwen2_5_vl, build_qwen2_audio

pytestmark = pytest.mark.usefixtures("one_thread")

PHASES = ["sample", "estimate", "optimise", "publish"]
DEVICE = {"gpu_mem": 80, "tflops": 100, "bandwidth": 1000}
SMALL = {
    "rollout_batch_size": 8,
    "n_samples_per_prompt": 4,
    "prompt_max_len": 512,
    "generate_max_len": 1024,
    "max_tokens_per_micro_batch": 8192,
}


@pytest.fixture
def plan(lightrft: Callable[..., Any], tiny_folder: Path) -> Callable[..., dict[str, Any]]:
    """plan(flag=value, ...) -> the numbers of a plan of the tiny model, by --json."""

    def run(*words: str, **flags: Any) -> dict[str, Any]:
        flags = {"pretrain": str(tiny_folder)} | SMALL | DEVICE | flags
        ended = lightrft("plan", "--json", *words, **flags)
        assert ended.code in (0, 1), ended.err
        numbers: dict[str, Any] = json.loads(ended.out)
        assert ended.code == (0 if numbers["fits"] else 1)
        return numbers

    return run


def need(numbers: dict[str, Any]) -> float:
    """GiB at the worst moment of the worst phase."""
    return max(phase["total_bytes"] for phase in numbers["phases"].values()) / 2**30


def test_every_flag_of_a_run_is_taken_and_those_of_machines_beside_them() -> None:
    known = fields_of(PlanCommand)
    assert set(fields_of(RLConfig)) < set(known)
    assert set(known) - set(fields_of(RLConfig)) == {
        "gpus",
        "gpu_mem",
        "device",
        "tflops",
        "bandwidth",
        "prompt_len",
        "prompt_media",
        "response_len",
        "json",
    }


def test_help_teaches_by_two_examples(lightrft: Callable[..., Any]) -> None:
    shown = lightrft("plan", "--help").out
    assert shown.count("\n  lightrft plan --") == 2
    for words in (line.split()[2:] for line in shown.splitlines() if line.startswith("  lightrft plan --")):
        assert all(word[2:] in {*fields_of(PlanCommand), "config"} for word in words if word.startswith("--"))


def test_a_plan_tells_every_phase_and_its_parts_add_up(plan: Callable[..., dict[str, Any]]) -> None:
    numbers = plan()
    assert list(numbers["phases"]) == PHASES
    for phase in numbers["phases"].values():
        assert phase["total_bytes"] == sum(phase["parts_bytes"].values())
        assert phase["fits"]
    assert numbers["advice"] == []
    assert numbers["phases"]["sample"]["seconds"] > 0 < numbers["phases"]["optimise"]["seconds"]


def test_no_weight_is_read(plan: Callable[..., dict[str, Any]], tiny_folder: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    shutil.copy(tiny_folder / "config.json", bare)
    assert plan(pretrain=str(bare)) == plan()


def test_what_just_fits_fits_and_a_little_less_does_not(plan: Callable[..., dict[str, Any]]) -> None:
    most = need(plan(gpu_mem=80))
    assert plan(gpu_mem=most * 1.001)["fits"]
    assert not plan(gpu_mem=most * 0.999)["fits"]


def flags_in(words: list[str]) -> dict[str, str]:
    """--a --b 2 as a flag of true and one of 2."""
    pairs = zip(words, [*words[1:], "--"], strict=True)
    return {word[2:]: "true" if after.startswith("--") else after for word, after in pairs if word.startswith("--")}


@pytest.mark.parametrize(
    "flags",
    [
        {"gpus": 4, "bf16": True, "gpu_mem": 1.53},
        pytest.param({"gpus": 4, "fsdp": True, "tp_size": 2, "gpu_mem": 1.53}, marks=pytest.mark.proof),
        pytest.param({"gpus": 2, "algorithm": "ppo", "zero_stage": 1, "gpu_mem": 2}, marks=pytest.mark.proof),
        pytest.param({"engine_type": "vllm", "engine_mem_util": 0.95, "gpu_mem": 16}, marks=pytest.mark.proof),
    ],
)
def test_following_an_advice_does_what_it_says(plan: Callable[..., dict[str, Any]], flags: dict[str, Any]) -> None:
    before = plan(**flags)
    assert before["advice"]
    for advice in before["advice"]:
        after = plan(**flags | flags_in(advice["flags"].split()))
        assert max(phase["lacks_bytes"] for phase in after["phases"].values()) == advice["lacks"], advice
        for phase, saved in advice["saves"].items():
            assert before["phases"][phase]["total_bytes"] - after["phases"][phase]["total_bytes"] == saved


def test_the_models_an_algorithm_needs_are_counted(plan: Callable[..., dict[str, Any]]) -> None:
    def parts(**flags: Any) -> set[str]:
        return {name.split()[0] for name in plan(**flags)["phases"]["sample"]["parts_bytes"]}

    assert parts(init_kl_coef=0) & {"policy", "reference", "critic"} == {"policy"}
    assert parts(init_kl_coef=0.1) >= {"policy", "reference"}
    assert parts(algorithm="ppo") >= {"policy", "critic"}
    assert "reference" not in parts(init_kl_coef=0.1, lora_rank=2), "the reference is the policy without its adapter"
    assert "whole" in parts(fsdp=True), "engines sample from a whole copy"


@pytest.mark.parametrize("flags", [{"fsdp": True}, {"zero_stage": 1}, {"zero_stage": 2}])
def test_slices_of_layers_are_planned_for_learning_and_a_whole_copy_for_sampling(
    plan: Callable[..., dict[str, Any]], flags: dict[str, Any]
) -> None:
    whole, rows = plan(gpus=2, **flags), plan(gpus=4, tp_size=2, **flags)
    assert rows["workload"]["largest_micro_batch"] == whole["workload"]["largest_micro_batch"]
    assert rows["workload"]["answers"] * 2 == whole["workload"]["answers"], "all ranks sample"
    optimise, alone = (numbers["phases"]["optimise"] for numbers in (rows, whole))
    assert optimise["flops"] < alone["flops"]
    assert optimise["parts_bytes"]["activations"] < alone["parts_bytes"]["activations"]
    moments = "policy moments (AdamW)"
    assert alone["parts_bytes"][moments] / 2 < optimise["parts_bytes"][moments] < alone["parts_bytes"][moments]
    copied = rows["phases"]["sample"]["parts_bytes"]["whole copy to sample from"]
    assert copied == 4 * rows["model"]["total"]
    assert rows["phases"]["publish"]["sends"] > 0


def test_an_adapter_leaves_little_to_remember(plan: Callable[..., dict[str, Any]]) -> None:
    whole, adapter = plan(init_kl_coef=0), plan(init_kl_coef=0, lora_rank=2)
    moments = "policy moments (AdamW)"
    assert adapter["model"]["trained"] < whole["model"]["trained"] / 5
    assert adapter["phases"]["sample"]["parts_bytes"][moments] == 8 * adapter["model"]["trained"]


def test_expected_lengths_stand_in_for_the_longest(plan: Callable[..., dict[str, Any]]) -> None:
    long, short = plan(), plan(prompt_len=64, response_len=128)
    assert short["workload"]["response_len"] == 128
    assert short["phases"]["sample"]["seconds"] < long["phases"]["sample"]["seconds"]
    assert plan(prompt_len=512, response_len=1024) == long


def test_a_prompt_is_counted_as_often_as_the_run_computes_it(plan: Callable[..., dict[str, Any]]) -> None:
    def seconds(**flags: Any) -> float:
        found: float = plan(**flags)["phases"]["optimise"]["seconds"]
        return found

    assert seconds(compile=True) > seconds()
    assert seconds(compile=True, packing_samples=True) == seconds(packing_samples=True) == seconds()
    again = {"gradient_checkpointing": True}
    assert seconds(**again, packing_samples=True) < seconds(**again)


def test_without_rates_no_times_are_told(lightrft: Callable[..., Any], tiny_folder: Path) -> None:
    flags = {"pretrain": str(tiny_folder), "gpu_mem": 80, **SMALL}
    shown = lightrft("plan", **flags)
    assert "times    are not told" in shown.out
    assert "seconds" not in shown.out
    assert "seconds" in lightrft("plan", device="H100", **flags).out


def test_people_get_a_table_and_a_verdict_for_each_phase(lightrft: Callable[..., Any], tiny_folder: Path) -> None:
    ended = lightrft("plan", pretrain=str(tiny_folder), **SMALL, gpu_mem=0.01)
    assert ended.code == 1
    for phase in PHASES:
        assert f"{phase}: does not fit by " in ended.out
    assert "activations" in ended.out
    *_, verdict = ended.out.strip().splitlines()
    assert verdict == "it does not fit as it stands; how long a step takes is not told"
    roomy = lightrft("plan", pretrain=str(tiny_folder), **SMALL, device="H100").out.strip().splitlines()
    assert roomy[-1].startswith("it fits; a step takes about ") and not any("what to change" in line for line in roomy)


def test_people_are_told_how_much_of_a_model_lies_on_a_rank_of_a_row(
    lightrft: Callable[..., Any], tiny_folder: Path
) -> None:
    flags = {"pretrain": str(tiny_folder), **SMALL, "device": "H100", "fsdp": True, "gpus": 2}
    told = "slices   of layers lie on 2 ranks, which have "
    assert told in lightrft("plan", **flags, tp_size=2).out
    assert "slices " not in lightrft("plan", **flags).out


def test_without_a_device_it_is_this_machine(lightrft: Callable[..., Any], tiny_folder: Path) -> None:
    ended = lightrft("plan", "--json", pretrain=str(tiny_folder), gpus=2, **SMALL)
    numbers = json.loads(ended.out)
    assert numbers["rates"]["source"] == "measured here and now"
    assert numbers["phases"]["sample"]["parts_bytes"]["the program itself"] > 2**20


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"gpus": 0}, "--gpus 0"),
        ({"gpu_mem": -1}, "--gpu_mem -1"),
        ({"device": "910B"}, "--device 910B"),
        ({"tflops": 100}, "--bandwidth"),
        ({"bandwidth": 100}, "--tflops"),
        ({"response_len": 4096}, "--response_len 4096"),
        ({"prompt_len": 0}, "--prompt_len 0"),
        ({"fsdp": True, "zero_stage": 2}, "--fsdp and --zero_stage 2"),
        ({"adam_offload": True}, "--adam_offload has no effect"),
        ({"engine_type": "vllm", "engine_tp_size": 2}, "--engine_tp_size 2"),
        ({"load_in_4bit": True}, "--load_in_4bit"),
        ({"lora_rank": 2, "target_modules": "nothing"}, "--target_modules nothing"),
        ({"pretrain": "./no/such/folder"}, "--pretrain ./no/such/folder"),
        ({"train_batch_size": 33}, "--train_batch_size 33"),
        ({"tp_size": 2, "gpus": 2}, "--tp_size 2: slices of layers go with shards"),
        ({"tp_size": 2, "fsdp": True, "gpus": 3}, "--tp_size 2: --gpus 3"),
        ({"tp_size": 3, "fsdp": True, "gpus": 3}, "which 3 ranks cannot share equally: set --tp_size to one of 1, 2"),
        ({"tp_size": 2, "zero_stage": 3, "gpus": 2}, "--tp_size 2 with --zero_stage 3"),
        ({"tp_size": 2, "fsdp": True, "gpus": 2, "lora_rank": 2}, "--tp_size 2 with --lora_rank 2"),
        (
            {"tp_size": 2, "ring_attn_size": 2, "packing_samples": True, "fsdp": True, "gpus": 6},
            "--tp_size 2 x --ring_attn_size 2: --gpus 6 cannot be cut into groups of 4",
        ),
        ({"sp_size": 2, "packing_samples": True, "gpus": 3}, "--sp_size 2: --gpus 3"),
        ({"ring_attn_size": 2, "packing_samples": True, "gpus": 3}, "--ring_attn_size 2: --gpus 3"),
        ({"placement": "colocate"}, "--placement colocate: what rests in host memory is not counted"),
        ({"compile": True, "zero_stage": 3}, "--compile with --zero_stage 3"),
        ({"compile": True, "aux_loss_coef": 0.1}, "--compile with --aux_loss_coef"),
        ({"ema_beta": 0.5}, "--ema_beta has no effect"),
        ({"prompt_media": "image"}, "--prompt_media image: write each medium as image, video or audio:TOKENS"),
        ({"prompt_media": "smell:3"}, "--prompt_media smell:3: write each medium as"),
        ({"prompt_media": "image:300,image:300"}, "600 tokens are more than the 512 of a prompt"),
        ({"prompt_media": "image:9", "limit_mm_image_per_prompt": 0}, "--limit_mm_image_per_prompt 0 allows no 1"),
        ({"prompt_media": "image:9"}, "reads text alone: leave the flag out"),
    ],
)
def test_what_cannot_be_planned_ends_with_2_and_names_the_flag(
    lightrft: Callable[..., Any], tiny_folder: Path, flags: dict[str, Any], named: str
) -> None:
    ended = lightrft("plan", **{"pretrain": str(tiny_folder)} | SMALL | flags)
    assert ended.code == 2
    assert named in ended.err
    assert ended.err.startswith("lightrft plan: ")


def test_a_model_is_all_that_has_to_be_named(tiny_folder: Path) -> None:
    assert parse_plan(["--pretrain", str(tiny_folder)]).machine.gpus == 1


SEERS = {
    "qwen2_5_vl": (build_qwen2_5_vl, "image", 512),
    "qwen2_audio": (build_qwen2_audio, "audio", 512),
    "qwen2_5_omni": (build_qwen2_5_omni, "image", 512),
}


TOWERS = {
    "qwen2_5_vl": "model.visual",
    "qwen2_audio": "model.audio_tower,model.multi_modal_projector",
    "qwen2_5_omni_thinker": "visual,audio_tower",
}


@pytest.fixture(scope="module", params=list(SEERS))
def seeing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, int]:
    """A folder with the config alone of a model that sees or hears, what it reads first, its largest in a prompt."""
    build, modality, tokens = SEERS[request.param]
    whole, bare = build(tmp_path_factory.mktemp("whole")), tmp_path_factory.mktemp("bare")
    shutil.copy(whole / "config.json", bare)
    return str(bare), modality, tokens


def test_a_model_that_sees_or_hears_is_planned_by_its_config_alone(
    plan: Callable[..., dict[str, Any]], seeing: tuple[str, str, int]
) -> None:
    folder, modality, tokens = seeing
    shown, blind = plan(pretrain=folder), plan(pretrain=folder, prompt_media="none")
    assert shown["media"] == [{"modality": modality, "tokens": tokens}]
    assert blind["media"] == []
    assert shown["model"] == blind["model"]
    assert 0 < shown["model"]["towers"] < shown["model"]["total"]
    for phase in ("sample", "estimate", "optimise"):
        assert shown["phases"][phase]["flops"] >= blind["phases"][phase]["flops"]
        assert shown["phases"][phase]["total_bytes"] >= blind["phases"][phase]["total_bytes"]
    for phase in ("sample", "optimise"):
        assert shown["phases"][phase]["flops"] > blind["phases"][phase]["flops"]
    assert shown["phases"]["optimise"]["total_bytes"] > blind["phases"]["optimise"]["total_bytes"]
    assert plan(pretrain=folder, prompt_media=f"{modality}:{tokens}") == shown


def test_a_limit_of_media_is_the_number_that_share_a_prompt(
    plan: Callable[..., dict[str, Any]], seeing: tuple[str, str, int]
) -> None:
    folder, modality, tokens = seeing
    limit = f"limit_mm_{modality}_per_prompt"
    halves = plan(pretrain=folder, **{limit: 2})["media"]
    assert halves == [{"modality": modality, "tokens": tokens // 2}] * 2
    assert modality not in {medium["modality"] for medium in plan(pretrain=folder, **{limit: 0})["media"]}


def test_frozen_towers_learn_nothing_and_keep_their_embeddings(
    plan: Callable[..., dict[str, Any]], seeing: tuple[str, str, int]
) -> None:
    folder = seeing[0]
    prefixes = TOWERS[json.loads(Path(folder, "config.json").read_text(encoding="utf-8"))["model_type"]]
    all_learn, still = plan(pretrain=folder), plan(pretrain=folder, freeze_prefix=prefixes)
    weights = still["model"]
    assert weights["trained"] == weights["total"] - weights["towers"]
    assert still["phases"]["optimise"]["flops"] < all_learn["phases"]["optimise"]["flops"]
    parts = still["phases"]["optimise"]["parts_bytes"]
    assert parts["activations"] < all_learn["phases"]["optimise"]["parts_bytes"]["activations"]
    assert parts["policy embeddings of media, kept"] == 2**30
    in_shards = plan(pretrain=folder, freeze_prefix=prefixes, fsdp=True)["phases"]["optimise"]["parts_bytes"]
    assert not any("embeddings" in part for part in in_shards)


def test_people_are_told_what_prompts_show(lightrft: Callable[..., Any], seeing: tuple[str, str, int]) -> None:
    folder, modality, tokens = seeing
    shown = lightrft("plan", pretrain=folder, **SMALL | DEVICE).out
    assert f"media    {modality} of {tokens} tokens in every prompt; towers have " in shown


@pytest.mark.parametrize(
    ("media", "named"),
    [
        ("audio:5", "--prompt_media audio:5: the model reads image, video: name one of them"),
        ("image:7", ""),
        ("video:40,image:7", ""),
    ],
)
def test_media_that_no_prompt_of_a_model_has_are_named(
    lightrft: Callable[..., Any], tmp_path: Path, media: str, named: str
) -> None:
    ended = lightrft("plan", pretrain=str(build_qwen2_5_vl(tmp_path)), prompt_media=media, **SMALL | DEVICE)
    assert ended.code == (2 if named else 0)
    assert named in ended.err


def test_a_family_whose_media_have_no_outlines_is_refused_by_name(lightrft: Callable[..., Any], tmp_path: Path) -> None:
    from transformers import Idefics3Config

    Idefics3Config().save_pretrained(tmp_path)
    ended = lightrft("plan", pretrain=str(tmp_path))
    assert ended.code == 2
    assert ended.err.startswith(
        f"lightrft plan: --pretrain {tmp_path}: what the towers of idefics3 read is not outlined"
    )
