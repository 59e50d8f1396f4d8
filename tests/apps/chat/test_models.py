"""Who can be talked to: models, runs, checkpoints and adapters of this machine; and what reaches them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path
from shutil import copytree, ignore_patterns
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console
from tests.apps.bytes_of_files import everything, flip

from lightrft_apps import RLConfig, train
from lightrft_apps.chatting import open_session
from lightrft_apps.chatting.conversation import ChatError
from lightrft_apps.chatting.finding import find_model
from lightrft_apps.chatting.session import Session
from lightrft_apps.config import ConfigError
from lightrft_apps.config.chat import ChatCommand, WhoArgs
from lightrft_apps.config.commands.chat import parse_chat
from lightrft_apps.config.reading.flat import from_flat
from lightrft_core import Prompt
from lightrft_multimodal.tiny import Sizes, build_qwen2_5_vl
from lightrft_strategy.manifest import seal

pytestmark = pytest.mark.usefixtures("one_thread")

Open = Callable[..., Session]


@pytest.fixture
def talk() -> Any:
    """talk(**flags) -> a session with them, as a context manager."""

    def start(**flags: Any) -> Any:
        return open_session(from_flat(ChatCommand, {"temperature": 0.0} | flags), Console(file=StringIO()))

    return start


def say(session: Session, text: str) -> list[str]:
    pieces: list[list[str]] = [[] for _ in session.speakers]
    exchange = session.ask(text, lambda place, piece: pieces[place].append(piece))
    assert ["".join(heard) for heard in pieces] == [answer.text for answer in exchange.answers]
    return [answer.text for answer in exchange.answers]


def asked(session: Session) -> Prompt:
    """The last question as the first model read it."""
    last = session.conversation.exchanges[-1]
    return session.speakers[0].prompt(session.conversation.before.plus(replace(last, answers=())), 0)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Path:
    """A run of two steps that trained an adapter, with a checkpoint of each."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "prompts.jsonl").write_text("".join(json.dumps({"input": f"{i} and"}) + "\n" for i in range(4)))
    (folder / "reward.py").write_text(
        "def score(prompts, responses, labels):\n    return [len(r) % 7 for r in responses]\n"
    )
    config = RLConfig.create(
        pretrain=str(model),
        prompt_data=str(folder / "prompts.jsonl"),
        reward_fn=f"{folder / 'reward.py'}:score",
        output_dir=str(folder / "run"),
        rollout_batch_size=2,
        n_samples_per_prompt=2,
        generate_max_len=4,
        max_steps=2,
        save_steps=1,
        lora_rank=4,
        actor_learning_rate=0.05,
        apply_chat_template=True,
        system_prompt="count",
        reward_workers=1,
        progress=False,
    )
    train(config)
    return folder / "run"


def test_a_run_a_checkpoint_and_an_adapter_are_the_same_model_and_talk_as_it_was_trained(
    run: Path, model: Path, talk: Any, known_bandwidth: None, tmp_path: Path
) -> None:
    said: dict[str, list[str]] = {}
    named = {
        "run": {"pretrain": run},
        "final": {"pretrain": run / "final"},
        "step": {"pretrain": run / "checkpoints/step_2"},
        "earlier": {"pretrain": run / "checkpoints/step_1"},
        "base": {"pretrain": model, "system_prompt": "count"},
        "beside": {"pretrain": model, "lora_path": run / "final", "system_prompt": "count"},
    }
    for name, flags in named.items():
        with talk(**{flag: str(value) for flag, value in flags.items()}, generate_max_len=30) as session:
            assert session.conversation.systems == ("count",)
            said[name] = say(session, "3 and") + say(session, "4 and")
    assert said["run"] == said["final"] == said["step"] == said["beside"]
    assert said["base"] != said["run"], "the adapter has learnt something"
    copytree(run / "final", tmp_path / "adapter")
    with talk(pretrain=str(tmp_path / "adapter"), system_prompt="count", generate_max_len=30) as session:
        assert say(session, "3 and") + say(session, "4 and") == said["run"]


def test_a_chat_asks_in_the_very_tokens_that_the_run_trained_on(run: Path, talk: Any) -> None:
    row = pq.read_table(run / "trajectories/step_000001.parquet").to_pylist()[0]
    with talk(pretrain=str(run), generate_max_len=2) as session:
        session.ask(json.loads(row["messages"])[-1]["content"], lambda place, piece: None)
        assert asked(session).text == row["prompt"]


def test_two_models_answer_side_by_side_as_they_would_alone(model: Path, other: Path, talk: Any) -> None:
    alone = []
    for folder in (model, other):
        with talk(pretrain=str(folder), generate_max_len=8) as session:
            alone.append([say(session, "hello")[0], say(session, "more")[0]])
    with talk(pretrain=str(model), side_by_side=str(other), generate_max_len=8) as session:
        both = [say(session, "hello"), say(session, "more")]
    assert [list(pair) for pair in zip(*both, strict=True)] == alone
    assert alone[0] != alone[1]


def test_a_model_without_a_template_goes_on_with_the_text(tiny_folder: Path, talk: Any) -> None:
    with talk(pretrain=str(tiny_folder), generate_max_len=6, input_template="{}=") as session:
        first = say(session, "1+1")[0]
        say(session, "2+2")
        assert asked(session).text == f"1+1={first}\n\n2+2="


def test_an_answer_ends_where_the_model_can_read_no_further(tiny_folder: Path, talk: Any) -> None:
    with talk(pretrain=str(tiny_folder), generate_max_len=5000, logit_bias={"0": -100}) as session:
        exchange = session.ask("1" * 490, lambda place, piece: None)
        assert exchange.answers[0].tokens == 512 - 490 and exchange.answers[0].finish_reason == "length"
        with pytest.raises(ChatError, match="/undo"):
            session.ask("2" * 490, lambda place, piece: None)
        assert len(session.conversation.exchanges) == 1


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seeing") / "model"
    build_qwen2_5_vl(folder, Sizes(max_pixels=32 * 32, initializer_range=0.15))
    return folder


def test_an_image_reaches_a_model_that_sees_and_no_other(seeing: Path, model: Path, talk: Any, tmp_path: Path) -> None:
    from lightrft_apps.chatting.commands import run_command

    told: dict[str, tuple[str, int]] = {}
    for colour in ("red", "blue"):
        Image.effect_noise((32, 32), 90).convert("RGB").save(tmp_path / "noise.png")
        Image.new("RGB", (32, 32), colour).save(tmp_path / f"{colour}.png")
    with talk(pretrain=str(seeing), generate_max_len=12) as session:
        for name in ("red", "blue", "noise", None):
            if name:
                run_command(session, f"/image {tmp_path / name}.png", lambda place, piece: None)
            answer = say(session, "What is this?")[0]
            prompt = asked(session)
            told[name or "nothing"] = (answer, len(prompt.token_ids))
            assert len(prompt.media) == bool(name)
            session.reset()
    assert len({answer for answer, _ in told.values()}) > 2, told
    assert told["red"][1] - told["nothing"][1] >= 16, "an image of 32 x 32 is 16 tokens and two around it"
    with talk(pretrain=str(model)) as session, pytest.raises(ChatError, match="reads text alone"):
        run_command(session, f"/image {tmp_path / 'red.png'}", lambda place, piece: None)
    (tmp_path / "torn.png").write_bytes(b"\x89PNG\r\n\x1a\n no")
    with talk(pretrain=str(seeing)) as session:
        with pytest.raises(ChatError, match=r"torn\.png"):
            run_command(session, f"/image {tmp_path / 'torn.png'}", lambda place, piece: None)
        assert session.attachments == ()


@pytest.fixture
def stopped(run: Path, tmp_path: Path) -> Path:
    """The run as it is when it was stopped before its end."""
    return Path(copytree(run, tmp_path / "stopped", ignore=ignore_patterns("final", "summary.json")))


def test_of_a_run_whose_newest_checkpoint_is_damaged_the_newest_whole_one_talks(
    stopped: Path, talk: Any, known_bandwidth: None, capsys: pytest.CaptureFixture[str]
) -> None:
    said: dict[str, list[str]] = {}
    bad = stopped / "checkpoints/step_2/policy/tensors_00000.safetensors"
    for name, place in {"1": "checkpoints/step_1", "2": "checkpoints/step_2", "whole": "", "damaged": ""}.items():
        if name == "damaged":
            flip(bad)
        before = everything(stopped)
        with talk(pretrain=str(stopped / place), generate_max_len=30) as session:
            said[name] = say(session, "3 and") + say(session, "4 and")
        assert everything(stopped) == before
    assert said["damaged"] == said["1"] != said["2"] == said["whole"]
    warned = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning:")]
    assert len(warned) == 1 and warned[0].startswith(f"warning: {bad} is damaged: its checksum does not match; ")
    assert warned[0].endswith(": step_1 is read instead")
    with pytest.raises(ConfigError, match=f"{bad} is damaged"), talk(pretrain=str(stopped / "checkpoints/step_2")):
        pass


def test_what_a_checkpoint_holds_for_others_is_compared_before_it_talks(
    stopped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (1, 2):
        checkpoint = stopped / "checkpoints" / f"step_{step}"
        (checkpoint / "huggingface").mkdir()
        (checkpoint / "huggingface" / "model.safetensors").write_bytes(bytes(64))
        (checkpoint / "manifest.json").unlink()
        seal(checkpoint)
    newest = stopped / "checkpoints/step_2"
    for place in (stopped, newest):
        assert find_model(str(place), None, WhoArgs(), tmp_path).pretrain == str(newest / "huggingface")
    flip(newest / "policy/tensors_00000.safetensors")
    assert find_model(str(newest), None, WhoArgs(), tmp_path).pretrain == str(newest / "huggingface"), "nothing of it"
    bad = flip(newest / "huggingface/model.safetensors")
    with pytest.raises(ConfigError, match=f"{bad} is damaged: its checksum does not match"):
        find_model(str(newest), None, WhoArgs(), tmp_path)
    before = stopped / "checkpoints/step_1/huggingface"
    assert find_model(str(stopped), None, WhoArgs(), tmp_path).pretrain == str(before)
    assert capsys.readouterr().err.endswith(": step_1 is read instead\n")


def test_what_is_no_model_to_talk_with_is_named(run: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "config.yaml").write_text((run / "config.yaml").read_text())
    with pytest.raises(ConfigError, match="neither final/ nor a whole checkpoint"):
        find_model(str(tmp_path), None, WhoArgs(), tmp_path)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "nobody answers: set --pretrain"),
        (["--pretrain", "x", "--remote", "http://a:1", "--remote_model", "m"], "--side_by_side x"),
        (["--pretrain", "/no/such"], "--pretrain /no/such: there is no such file or folder"),
        (["--remote", "ftp://a", "--remote_model", "m"], "is no URL of a service"),
        (["--remote", "http://a:1"], "--remote_model"),
        (["--remote", "http://a:1", "--remote_model", "m", "--remote_key_env", "NO_SUCH"], "--remote_key_env NO_SUCH"),
        (["--remote", "http://a:1", "--remote_model", "m", "--bf16"], "--bf16 has no effect: set --pretrain"),
        (
            ["--remote", "http://a:1", "--remote_model", "m", "--side_by_side", ".", "--lora_path", "y"],
            "--lora_path has no effect: set --pretrain, or name the adapter by --side_by_side",
        ),
        (["--pretrain", "x", "--port", "80"], "--port has no effect: set --web"),
        (["--pretrain", "x", "--input_key", "q"], "--input_key has no effect: set --input"),
        (["--pretrain", "x", "--input", "a"], "--input: set --output"),
        (
            ["--pretrain", "x", "--side-by-side", "y", "--input", "a", "--output", "b.jsonl"],
            "--side_by_side with --input",
        ),
        (["--pretrain", "x", "--rule_reward", "numbr"], "did you mean number?"),
        (["--pretrain", "x", "--top_p", "2"], "--top_p 2.0"),
        (["--pretrain", "x", "--lora_path", "y"], "--lora_path y: there is no adapter"),
    ],
)
def test_flags_that_cannot_be_are_refused_by_name(
    words: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_chat(words)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
