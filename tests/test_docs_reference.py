"""The reference of the manual is what the code says: no flag, rule, algorithm or public name is left out."""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from lightrft_apps.config import RLConfig
from lightrft_apps.config.reading.schema import fields_of
from lightrft_apps.main import COMMANDS

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs/source/api_doc"
PLACE = re.compile(r"<!-- generated: (\w+)((?: [\w.-]+)*) -->")


@pytest.fixture(scope="module")
def flag_tables() -> ModuleType:
    sys.path.append(str(ROOT / "docs/source/_ext"))
    return importlib.import_module("flag_tables")


def generated(page: Path) -> list[tuple[str, list[str]]]:
    return [(part, words.split()) for part, words in PLACE.findall(page.read_text())]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_page_with_its_flags(command: str, flag_tables: ModuleType) -> None:
    page = REFERENCE / f"{command.replace('-', '_')}.md"
    words = ["reward", "replay"] if command == "reward" else [command]
    assert generated(page) == [("flags", words)]
    assert page.read_text().startswith(f"# lightrft {command}\n")


def test_no_page_is_of_a_command_or_package_that_is_gone(flag_tables: ModuleType) -> None:
    for page in REFERENCE.glob("*.md"):
        for part, words in generated(page):
            assert part != "flags" or words[0] in COMMANDS, page.name
            assert part != "api" or find_spec(words[0]), page.name


def test_the_tables_of_rl_have_every_flag_with_default_bound_and_documentation(flag_tables: ModuleType) -> None:
    text = flag_tables.flags("rl")
    rows = dict(re.findall(r"^\| `--(\w+)`[^|]*\| (.*) \|$", text, re.MULTILINE))
    assert rows.keys() == fields_of(RLConfig).keys()
    for name, field in fields_of(RLConfig).items():
        assert flag_tables.plain(field.doc) in rows[name]
    assert "| `128` |" in rows["rollout_batch_size"] and "1 or more" in rows["rollout_batch_size"]
    assert "needed" in rows["pretrain"] and "k1, k2, k3" in rows["kl_estimator"]
    assert "`--normalize_reward`" in rows["reward_running_norm"]


def test_the_reference_says_what_a_flag_needs_beside_it(flag_tables: ModuleType) -> None:
    needs = flag_tables._needs("rl")
    assert needs["first_token_top_k"] == "set --use_fire"
    assert needs["lora_alpha"].startswith("set --lora_rank")
    assert "seed" not in needs and "pretrain" not in needs and "kl_estimator" not in needs


def test_a_command_with_bounds_of_its_own_shows_those(flag_tables: ModuleType) -> None:
    (evaluation,) = re.findall(r"^\| `--temperature` \|.*$", flag_tables.flags("eval"), re.MULTILINE)
    (training,) = re.findall(r"^\| `--temperature` \|.*$", flag_tables.flags("rl"), re.MULTILINE)
    assert "0 or more" in evaluation and "above 0" in training


def test_a_command_that_takes_every_flag_of_rl_shows_its_own_alone(flag_tables: ModuleType) -> None:
    plan = flag_tables.flags("plan")
    assert "`--gpu_mem`" in plan and "`--kl_estimator`" not in plan and "lightrft rl" in plan


@pytest.mark.parametrize("package", ["core", "strategy", "multimodal", "rewards", "apps"])
def test_every_public_name_of_a_package_is_shown_with_its_documentation(package: str, flag_tables: ModuleType) -> None:
    public_names = importlib.import_module("public_names")
    module = importlib.import_module(f"lightrft_{package}")
    shown = public_names.api(module.__name__)
    sections = re.split(r"^## (\S+)\n", shown, flags=re.MULTILINE)
    assert sections[1::2] == list(module.__all__)
    for name, text in zip(sections[1::2], sections[2::2], strict=True):
        shown_object = getattr(module, name)
        doc = inspect.getdoc(shown_object) if inspect.isclass(shown_object) or inspect.isfunction(shown_object) else ""
        if doc and not doc.startswith(f"{name}("):
            assert doc in text
        assert name in text.partition("```python\n")[2].partition("```")[0]


def test_text_of_the_code_is_shown_as_it_stands(flag_tables: ModuleType) -> None:
    assert flag_tables.plain("a|b *c* <d> --seed_x [e]") == r"a\|b \*c\* \<d\> `--seed_x` \[e\]"
