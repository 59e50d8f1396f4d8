"""From flags to judges: what is refused before anything loads, and real reward models and services that judge."""

from __future__ import annotations

import json
import math
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from lightrft_apps.config import ConfigError, JudgesArgs, RewardArgs
from lightrft_apps.config.checks.reward import reward_problems
from lightrft_apps.rewards.judging import _judges_steps, build_judge, build_judges, build_scorer
from lightrft_core import FinishReason, Group, Message, Prompt, Rollout
from lightrft_rewards import RewardSetupError, Sample
from lightrft_rewards.models.card import RewardCard, read_card
from lightrft_rewards.models.judges import JudgeForm
from lightrft_rewards.models.loading import save_reward_model
from lightrft_rewards.models.padding import set_padding_token
from lightrft_rewards.models.reward_model import RewardModel

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def scalar(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """scalar("helpful", "safe", seed=1) -> the folder of a reward model of those heads."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    def build(*heads: str, seed: int = 0) -> str:
        folder = tmp_path_factory.mktemp("scalar") / "model"
        tokenizer = AutoTokenizer.from_pretrained(tiny_folder)
        backbone = AutoModelForCausalLM.from_pretrained(tiny_folder)
        backbone.resize_token_embeddings(len(tokenizer) + 2)
        model = RewardModel(backbone, heads=heads or ("score",), seed=seed)
        set_padding_token(tokenizer, model.model.config.vocab_size)
        card = RewardCard(heads or ("score",), apply_chat_template=False, max_len=64)
        save_reward_model(model.eval(), tokenizer, folder, card)
        return str(folder)

    return build


@pytest.fixture(scope="module")
def process(scalar: Callable[..., str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a model that judges steps."""
    folder = tmp_path_factory.mktemp("process") / "model"
    shutil.copytree(scalar(), folder)
    card = read_card(folder)
    assert card is not None
    replace(card, process=True).write(folder)
    return str(folder)


@pytest.fixture(scope="module")
def writing(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of a judge that compares, of random weights."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = tmp_path_factory.mktemp("judge")
    AutoModelForCausalLM.from_pretrained(tiny_folder).save_pretrained(folder)
    AutoTokenizer.from_pretrained(tiny_folder).save_pretrained(folder)
    JudgeForm(apply_chat_template=False, generate_max_len=3, kind="pointwise", lowest=0, highest=9).write(folder)
    return str(folder)


def samples(*responses: str, label: str = "4") -> list[Sample]:
    return [Sample(response, label, "2+2=", name=f"row, sample {i}") for i, response in enumerate(responses)]


def problems(**flags: Any) -> list[str]:
    rewards = {name: value for name, value in flags.items() if name in RewardArgs.__dataclass_fields__}
    judges = {name: value for name, value in flags.items() if name in JudgesArgs.__dataclass_fields__}
    return list(reward_problems(RewardArgs(**rewards), JudgesArgs(**judges)))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({}, "nothing judges the answers"),
        ({"reward_fn": __file__ + ":x", "reward_pretrain": "MODEL"}, "leave out --reward_fn or --reward_pretrain"),
        ({"rule_reward": "number", "reward_pretrain": "MODEL"}, "no reward counts it"),
        ({"rule_reward": "number,rm", "reward_gates": "safe>=0:0", "reward_pretrain": "M"}, "nothing gives safe"),
        ({"rule_reward": "number", "reward_gates": "number>0"}, "--reward_gates: the gate"),
        ({"reward_pretrain": "a=X,a=Y"}, "names two models a"),
        ({"reward_pretrain": "a=X,b/Y-1"}, "each with a name"),
        ({"reward_pretrain": "llm=X"}, "each with a name"),
        ({"reward_pretrain": "./nowhere"}, "there is no such file or folder"),
        ({"rule_reward": "number,rn", "reward_pretrain": "MODEL"}, "there is no rule 'rn'"),
        ({"rule_reward": "number", "reward_max_len": 5}, "--reward_max_len has no effect: set --reward_pretrain"),
        ({"rule_reward": "number", "judge_timeout": 5.0}, "set --remote_rm_url or --llm_judge_url"),
        ({"llm_judge_url": "http://x"}, "--llm_judge_model"),
        ({"llm_judge_url": "http://x", "llm_judge_model": "m", "llm_judge_prompt": "nowhere"}, "no such file"),
    ],
)
def test_what_cannot_judge_is_refused_by_flag(flags: dict[str, Any], said: str) -> None:
    assert any(said in problem for problem in problems(**flags)), problems(**flags)


@pytest.mark.parametrize(
    "flags",
    [
        {"reward_pretrain": "MODEL"},
        {"reward_pretrain": "a=X,b=Y", "rule_reward": "number:0,a:1,b.safe:0.5"},
        {"rule_reward": "number", "reward_gates": "number>=0.5:0"},
        {"rule_reward": "number:1", "reward_pretrain": "MODEL", "reward_gates": "rm.safe>=0:-1"},
        {"remote_rm_url": "http://a:1,http://b:1", "reward_routes": {"math": "number", "chat": "remote"}},
    ],
)
def test_what_can_judge_is_taken(flags: dict[str, Any]) -> None:
    assert problems(**flags) == []


def test_a_reward_model_alone_is_the_reward_and_a_rule_of_weight_zero_measures(scalar: Callable[..., str]) -> None:
    folder = scalar()
    with build_judge(RewardArgs(), JudgesArgs(reward_pretrain=folder), None) as judge:
        [[alone, _]] = judge.score([group("4", "5")], step=1)
    args = RewardArgs(rule_reward="number:0,rm:2", reward_workers=1)
    with build_judge(args, JudgesArgs(reward_pretrain=folder), None) as judge:
        [[right, wrong]] = judge.score([group("4", "5")], step=1)
    assert alone.score is not None
    assert right.parts == {"number": 1.0, "rm": pytest.approx(alone.score)}
    assert right.score == pytest.approx(2 * alone.score)
    assert (right.accuracy, wrong.accuracy) == (1.0, 0.0)


def test_models_of_several_heads_are_added_up_gated_and_named_by_part(scalar: Callable[..., str]) -> None:
    judges = JudgesArgs(reward_pretrain=f"two={scalar('helpful', 'safe', seed=1)},one={scalar(seed=2)}")
    scorer = build_scorer(RewardArgs(rule_reward="two:2,one"), judges)
    [plain] = scorer.score([samples("1", "2", "33", "44")])
    scorer.close()
    for outcome in plain:
        assert outcome.parts.keys() == {"two.helpful", "two.safe", "one"}
        expected = 2 * (outcome.parts["two.helpful"] + outcome.parts["two.safe"]) + outcome.parts["one"]
        assert outcome.score == pytest.approx(expected)
    safe = sorted(outcome.parts["two.safe"] for outcome in plain)
    bound = (safe[1] + safe[2]) / 2
    gated = JudgesArgs(reward_pretrain=judges.reward_pretrain, reward_gates=f"two.safe>={bound!r}:-100")
    scorer = build_scorer(RewardArgs(rule_reward="two:2,one"), gated)
    [held] = scorer.score([samples("1", "2", "33", "44")])
    scorer.close()
    for before, after in zip(plain, held, strict=True):
        assert after.score == (pytest.approx(before.score) if before.parts["two.safe"] >= bound else -100)


def test_rewards_of_steps_are_refused_where_no_model_judges_steps(scalar: Callable[..., str], process: str) -> None:
    told: dict[str, Any] = {"dtype": torch.float32, "in_turns": False, "media": {}}
    with pytest.raises(ConfigError, match="--step_reward_coef has no effect: none of --reward_pretrain judges steps"):
        build_judges(RewardArgs(), JudgesArgs(reward_pretrain=scalar()), None, **told, steps=True)
    for judges in (JudgesArgs(reward_pretrain=process), JudgesArgs(remote_rm_url="http://127.0.0.1:9")):
        scorer = build_scorer(RewardArgs(), judges)
        assert _judges_steps(scorer)
        scorer.close()


def test_a_part_that_a_model_does_not_have_is_an_error_that_names_those_it_has(scalar: Callable[..., str]) -> None:
    judges = JudgesArgs(reward_pretrain=f"two={scalar('helpful', 'safe')}")
    with pytest.raises(RewardSetupError, match=r"there is no two.kind: the model gives two.helpful, two.safe"):
        build_scorer(RewardArgs(rule_reward="two.kind"), judges)


def test_a_folder_that_is_no_reward_model_is_refused_by_name(tiny_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"--reward_pretrain .*cannot be loaded: .*score.weight"):
        build_scorer(RewardArgs(), JudgesArgs(reward_pretrain=str(tiny_folder)))


def test_a_name_that_no_hub_knows_is_refused_by_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match="--reward_pretrain nobody/no-such-model cannot be loaded"):
        build_scorer(RewardArgs(), JudgesArgs(reward_pretrain="nobody/no-such-model"))


def test_too_long_an_answer_is_an_error_and_never_cut(scalar: Callable[..., str]) -> None:
    scorer = build_scorer(RewardArgs(), JudgesArgs(reward_pretrain=scalar(), reward_max_len=8))
    [[short, long]] = scorer.score([samples("4", "4444444444")])
    scorer.close()
    assert short.score is not None
    assert long.score is None
    assert "tokens with its answer, more than --reward_max_len 8" in long.error


def test_a_judge_that_writes_is_known_by_its_file_and_drawn_by_its_flags(writing: str) -> None:
    def grades(**flags: Any) -> list[float | None]:
        scorer = build_scorer(RewardArgs(), JudgesArgs(reward_pretrain=writing, **flags))
        [outcomes] = scorer.score([samples("1", "22", "333", "4+4", "5=", "6")])
        scorer.close()
        assert all((outcome.score is None) == bool(outcome.error) for outcome in outcomes)
        return [outcome.score for outcome in outcomes]

    assert grades() == grades(), "greedy judgements are the same"
    loaded = build_scorer(RewardArgs(), JudgesArgs(reward_pretrain=writing, judge_samples=3, judge_temperature=0.7))
    inner = loaded.scorers["rm"]  # type: ignore[attr-defined]
    assert (inner.sampling.n, inner.sampling.temperature, inner.opponents) == (3, 0.7, 4)
    other = build_scorer(RewardArgs(), JudgesArgs(reward_pretrain=writing, judge_opponents=2))
    assert other.scorers["rm"].opponents == 2  # type: ignore[attr-defined]
    assert loaded.fingerprint() != other.fingerprint()
    loaded.close()
    other.close()


def test_reward_models_compute_in_the_precision_of_the_run(scalar: Callable[..., str]) -> None:
    folder = scalar()
    scorer = build_scorer(RewardArgs(), JudgesArgs(reward_pretrain=folder), dtype=torch.bfloat16)
    module = scorer.scorers["rm"].module  # type: ignore[attr-defined]
    scorer.close()
    assert {parameter.dtype for parameter in module.model.parameters()} == {torch.bfloat16}


def test_a_token_that_is_not_there_is_said_before_anything_is_asked() -> None:
    with pytest.raises(ConfigError, match="--remote_rm_key_env NOWHERE: there is no such environment variable"):
        build_scorer(RewardArgs(), JudgesArgs(remote_rm_url="http://127.0.0.1:1", remote_rm_key_env="NOWHERE"))


def test_an_llm_grades_beside_a_rule(tmp_path: Path) -> None:
    question = tmp_path / "question.txt"
    question.write_text("Is {response} right?")
    with chat_api("It is. Grade: 7") as (url, asked):
        judges = JudgesArgs(llm_judge_url=url, llm_judge_model="m", llm_judge_prompt=str(question))
        args = RewardArgs(rule_reward="number:1,llm:10", reward_workers=1)
        with build_judge(args, judges, None) as judge:
            [[verdict]] = judge.score([group("4")], step=1)
    assert verdict.parts == {"number": 1.0, "llm": pytest.approx(0.7)}
    assert verdict.score == pytest.approx(8.0)
    assert asked[0]["messages"][-1]["content"] == "Is 4 right?"


def test_a_run_learns_from_a_reward_model_beside_a_rule_that_measures(
    lightrft: Callable[..., Any], flags: dict[str, Any], scalar: Callable[..., str]
) -> None:
    del flags["reward_fn"]
    ended = lightrft("rl", **flags, reward_pretrain=scalar(seed=3), rule_reward="number:0,rm:1", save_steps=1)
    assert ended.code == 0, ended.err
    lines = [json.loads(line) for line in (Path(flags["output_dir"]) / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        assert math.isfinite(line["reward/part/rm"])
        assert line["reward/spread/rm"] > 0
        assert line["reward/extra/rm/seconds"] > 0
        assert line["reward/extra/rm/failed"] == line["reward/extra/rules/failed"] == 0
        assert 0 <= line["reward/part/number"] <= 1


def group(*responses: str) -> Group:
    prompt = Prompt("row", (Message("user", "2+2="),), "2+2=", (1, 2), "4")
    rollouts = [Rollout(i, [1], [0.0], [True], FinishReason.STOP, text) for i, text in enumerate(responses)]
    return Group(prompt, rollouts)


@contextmanager
def chat_api(reply: str) -> Iterator[tuple[str, list[Any]]]:
    """A chat API that always says the same, and what it was asked."""
    asked: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            body = json.dumps({"choices": [{"message": {"role": "assistant", "content": reply}}]}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", asked
    finally:
        server.shutdown()
        server.server_close()
