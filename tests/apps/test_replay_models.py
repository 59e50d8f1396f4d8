"""`lightrft reward replay` of answers that a reward model judged: it says of each what it said in the run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree, rmtree
from typing import Any

import pytest

pytestmark = pytest.mark.usefixtures("one_thread")

TEMPLATE = (
    "{% for m in messages %}{{ {'system': '+', 'user': '=', 'assistant': '-'}[m.role] }}{{ m.content }}"
    "{{ '<end>' if m.role == 'assistant' else '' }}{% endfor %}{{ '-' if add_generation_prompt else '' }}"
)


@pytest.fixture
def talking(tiny_folder: Path, tmp_path: Path) -> Path:
    """A model with a chat template."""
    folder = tmp_path / "talking"
    copytree(tiny_folder, folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": TEMPLATE}))
    return folder


@pytest.fixture
def scalar(talking: Path, tmp_path: Path) -> Path:
    """A reward model of random weights that reads chats."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from lightrft_rewards.models.card import RewardCard
    from lightrft_rewards.models.loading import save_reward_model
    from lightrft_rewards.models.padding import set_padding_token
    from lightrft_rewards.models.reward_model import RewardModel

    tokenizer, backbone = AutoTokenizer.from_pretrained(talking), AutoModelForCausalLM.from_pretrained(talking)
    backbone.resize_token_embeddings(len(tokenizer) + 2)
    model = RewardModel(backbone, seed=3)
    set_padding_token(tokenizer, model.model.config.vocab_size)
    save_reward_model(model.eval(), tokenizer, tmp_path / "scalar", RewardCard(max_len=64))
    return tmp_path / "scalar"


def turns(*contents: str) -> list[dict[str, str]]:
    """A system prompt, and then the user and the assistant by turns."""
    roles = ["system", *["user", "assistant"] * len(contents)]
    return [{"role": role, "content": content} for role, content in zip(roles, contents, strict=False)]


def test_a_model_says_of_chats_of_several_turns_exactly_what_it_said_in_the_run(
    lightrft: Callable[..., Any], flags: dict[str, Any], talking: Path, scalar: Path, tmp_path: Path
) -> None:
    del flags["reward_fn"]
    chats = [turns("9" * (1 + i), *"12345"[: 1 + 2 * (i % 3)]) for i in range(8)]
    rows = [json.dumps({"input": chat, "label": "2"}) + "\n" for chat in chats]
    (tmp_path / "prompts.jsonl").write_text("".join(rows))
    flags |= {"pretrain": talking, "reward_pretrain": scalar, "rule_reward": "number:0.5,rm:1"}
    ended = lightrft("rl", "--apply_chat_template", **flags)
    assert ended.code == 0, ended.err
    ended = lightrft("reward", "replay", flags["output_dir"], tolerance=0)
    assert ended.code == 0, ended.err
    report = json.loads((Path(flags["output_dir"]) / "replay.json").read_text())
    assert (report["answers"], report["differ"], report["status"]) == (16, 0, {"scored": 16})
    for numbers in (report["parts"]["rm"], report["parts"]["number"], report["reward"], report["accuracy"]):
        assert (numbers["compared"], numbers["largest_difference"]) == (16, 0.0)


CONFIGURATION = """
from transformers import LlamaConfig


class HomemadeConfig(LlamaConfig):
    model_type = "homemade"
"""
MODELLING = """
from transformers import LlamaForSequenceClassification

from .configuration_homemade import HomemadeConfig


class HomemadeForSequenceClassification(LlamaForSequenceClassification):
    config_class = HomemadeConfig
"""


@pytest.fixture
def homemade(scalar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The reward model as one whose repository brings the code that computes it."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    (scalar / "configuration_homemade.py").write_text(CONFIGURATION)
    (scalar / "modeling_homemade.py").write_text(MODELLING)
    name, config = "HomemadeForSequenceClassification", json.loads((scalar / "config.json").read_text())
    classes = {
        "AutoConfig": "configuration_homemade.HomemadeConfig",
        "AutoModelForSequenceClassification": f"modeling_homemade.{name}",
    }
    own = {"model_type": "homemade", "architectures": [name], "auto_map": classes}
    (scalar / "config.json").write_text(json.dumps(config | own))
    return scalar


def test_a_replay_and_a_service_run_the_code_of_a_reward_model_only_where_they_are_told(
    lightrft: Callable[..., Any],
    flags: dict[str, Any],
    talking: Path,
    homemade: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    class Loading:
        """A service that loads what judges, and ends."""

        def __init__(self, load: Callable[[], Any], **settings: Any) -> None:
            self.run = lambda: load().close()

    monkeypatch.setattr("lightrft_rewards.service.server.RewardServer", Loading)
    rows = [json.dumps({"input": turns("9" * (1 + i)), "label": "2"}) + "\n" for i in range(8)]
    (tmp_path / "prompts.jsonl").write_text("".join(rows))
    assert lightrft("rl", "--apply_chat_template", **flags | {"pretrain": talking}).code == 0
    judging = {"reward_pretrain": homemade, "rule_reward": "rm"}
    for command in (("reward", "replay", flags["output_dir"]), ("serve-reward",)):
        ended = lightrft(*command, **judging)
        assert ended.code == 1
        told = f"--reward_pretrain {homemade} brings Python code of its own: read it, and set --trust_remote_code"
        assert told in ended.err
        assert not (tmp_path / "modules").exists(), "nothing of it was run"
        ended = lightrft(*command, "--trust_remote_code", **judging)
        assert told not in ended.err
        assert list((tmp_path / "modules").rglob("configuration_homemade.py")), "its code was fetched to be run"
        rmtree(tmp_path / "modules")
