"""The manual against the code: what it mentions is there, and no metric goes without mention."""

from __future__ import annotations

import ast
import importlib
import json
import math
import re
import shutil
import statistics
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/source/**/*.md"),
        *ROOT.glob("docs/benchmarks/*.md"),
        *ROOT.glob("packages/*/README.md"),
        ROOT / "apps/README.md",
    ]
)
SOURCES = sorted([*ROOT.glob("packages/*/lightrft_*/**/*.py"), *ROOT.glob("apps/lightrft_apps/**/*.py")])
GLOSSARY = ROOT / "docs/source/best_practice/metrics.md"
ALGORITHMS = "docs/source/quick_start/algorithms.md"

METRIC = re.compile(r"(?:<>|[a-z]+)/[\w@<>/]+")
FLAG = re.compile(r"(?<![\w-])--([a-z][\w-]*)")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
PATH = re.compile(r"`((?!docs/build/)(?:packages|apps|docs|tests|examples|benchmarks|\.ci)/[\w./-]+)`")

OF_THE_PARSER = {"config", "print_config", "help"}
OF_LAUNCHERS = {"nnodes", "nproc-per-node", "max-restarts", "rdzv-backend", "rdzv-endpoint", "rdzv-id", "requeue"}
OF_TRACKERS = {"logdir"}
ABOUT_OTHERS = {"migrating.md", "migrating_zh.md"}
"""Pages whose tables begin with what others call a thing."""
OF_UV_AND_PIP = {
    "all-packages",
    "group",
    "no-group",
    "wheel",
    "out-dir",
    "no-deps",
    "find-links",
    "extra",
    "no-sync",
    "python",
}


@pytest.fixture(params=PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def page(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def python_blocks(text: str) -> list[str]:
    return [code for language, code in BLOCK.findall(text) if language == "python"]


# Metrics


def _metrics(named: Iterator[ast.expr]) -> set[str]:
    return {name for node in named if METRIC.fullmatch(name := _text(node))}


def _text(node: ast.expr) -> str:
    """A string in the source; what is filled in at run time is <>."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=pieces):
            return "".join(_text(piece) or "<>" for piece in pieces)
    return ""


WRITERS = ("mean", "weighted_mean", "max", "effective_share")


def _written(tree: ast.AST) -> Iterator[ast.expr]:
    """What stands where a metric would be given: metrics.mean(HERE, ...), {HERE: ...}, numbers[HERE] = ..."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=kind), args=[first, *_]) if kind in WRITERS:
                yield first
            case ast.Dict(keys=keys):
                yield from (key for key in keys if key is not None)
            case ast.DictComp(key=key) | ast.Subscript(slice=key, ctx=ast.Store()):
                yield key


def _read(tree: ast.AST) -> Iterator[ast.expr]:
    """What stands where a metric would be asked for: numbers[HERE], numbers.get(HERE), HERE in numbers."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="get"), args=[key, *_]):
                yield key
            case ast.Subscript(slice=key, ctx=ast.Load()) | ast.Compare(left=key, ops=[ast.In() | ast.NotIn()]):
                yield key


VLLM = find_spec("vllm") is not None
"""Whether one of the extras with vLLM is installed; without it, its recipes and numbers cannot be seen."""

OF_AN_ENGINE = re.compile("sync/|time/sync_|memory/engine_")


def documented_names() -> dict[str, re.Pattern[str]]:
    """First cells of the glossary's tables, such as `reward/part/<name>`, with what a line may hold for each."""
    from lightrft_apps.recording.progress import PHASES

    names = re.findall(r"^\| `([^`]+)` \|", GLOSSARY.read_text(), re.MULTILINE)
    assert len(names) == len(set(names))
    phases = "|".join([*PHASES, "<>"])
    return {
        name: re.compile(re.sub("<(?!phase)[^>]*>", ".+", name).replace("<phase>", f"({phases})")) for name in names
    }


def undocumented(names: set[str]) -> set[str]:
    patterns = documented_names().values()
    return {name for name in names if not any(pattern.fullmatch(name) for pattern in patterns)}


def test_the_glossary_has_every_metric_the_code_writes_and_no_other() -> None:
    written = _metrics(node for path in SOURCES for node in _written(ast.parse(path.read_text())))
    documented = {re.sub("<[^>]*>", "<>", name) for name in documented_names()} - {"step"}
    of_models = {name for name in written if name.startswith("<>/")}
    meant = {name for name in documented for of_model in of_models if name.endswith(of_model.removeprefix("<>"))}
    assert documented == (written - of_models) | meant
    assert {"optimiser/grad_norm", "critic/grad_norm", "policy/loss", "critic/loss"} <= meant


def test_every_metric_the_code_reads_is_one_it_writes() -> None:
    read = _metrics(node for path in SOURCES for node in _read(ast.parse(path.read_text())))
    assert {"reward/mean", "group/zero_signal_share", "time/<>"} <= read
    assert undocumented(read) == set()


def test_every_metric_a_page_mentions_is_in_the_glossary(page: Path) -> None:
    begins = {name.partition("/")[0] for name in documented_names() if "<" not in name.partition("/")[0]}
    mentioned = set(re.findall(r"`([a-z]+/[\w@]+(?:/[\w.]+)*)`", page.read_text()))
    named = {name for name in mentioned if name.partition("/")[0] in begins}
    assert page in (GLOSSARY, GLOSSARY.with_stem("metrics_zh")) or undocumented(named) == set()


def test_the_glossary_names_every_phase() -> None:
    from lightrft_apps.recording.progress import PHASES

    (listed,) = re.findall(r"`<phase>` is one of (.*?)\.", GLOSSARY.read_text(), re.DOTALL)
    assert re.findall("`(.*?)`", listed) == list(PHASES)


@pytest.fixture(scope="module")
def tiny_files(tmp_path_factory: pytest.TempPathFactory, tiny_model: Callable[..., Any]) -> Path:
    """A folder with a tiny `model`, one with `experts`, and `rows.jsonl` to learn from."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    vocabulary = {token: number for number, token in enumerate(["<end>", "?", *"0123456789+="])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder / "model")
    # Heads of 64, as vLLM's attention on the CPU needs them, and weights at which float32 is exact enough.
    wide = {"hidden_size": 256, "num_attention_heads": 4, "initializer_range": 0.05}
    tiny_model(vocab_size=len(vocabulary), eos_token_id=0, **wide).save_pretrained(folder / "model")
    shutil.copytree(folder / "model", folder / "experts")
    shutil.copytree(folder / "model", folder / "judge")
    tiny_model(vocab_size=16, eos_token_id=0).save_pretrained(folder / "judge")
    tiny_model(family="Mixtral", num_local_experts=2, vocab_size=14, eos_token_id=0).save_pretrained(folder / "experts")
    rows = [json.dumps({"input": f"{i}+1=", "label": str(i + 1)}) + "\n" for i in range(1, 9)]
    (folder / "rows.jsonl").write_text("".join(rows))
    return folder


@pytest.fixture(scope="module")
def tiny_run(tiny_files: Path) -> Callable[..., set[str]]:
    """tiny_run(**flags) -> every name in the metrics of a run of two steps, evaluated and saved at each."""
    from lightrft_apps import RLConfig, train

    folder = tiny_files

    def run(name: str, model: str = "model", **flags: Any) -> set[str]:
        recipe = {
            "pretrain": folder / model,
            "prompt_data": folder / "rows.jsonl",
            "eval_dataset": folder / "rows.jsonl",
            "output_dir": folder / name,
            "rollout_batch_size": 4,
            "n_samples_per_prompt": 8,
            "generate_max_len": 3,
            "max_steps": 2,
            "save_steps": 1,
            "eval_steps": 1,
            "reward_workers": 1,
        }
        if flags.get("teacher_kl_coef"):
            recipe["teacher_pretrain"] = folder / "model"
        train(RLConfig.create(**recipe | flags))
        lines = (folder / name / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [0, 1, 2]
        return {name for line in lines for name in json.loads(line)}

    return run


def tuned(folder: Path) -> set[str]:
    """Every name in the metrics of a supervised run of two steps."""
    from lightrft_apps import SFTConfig, tune

    places = {"pretrain": folder / "model", "dataset": folder / "rows.jsonl", "eval_dataset": folder / "rows.jsonl"}
    tune(SFTConfig.create(**places, output_dir=folder / "sft", output_key="label", train_batch_size=4, eval_steps=1))
    return {name for line in (folder / "sft" / "metrics.jsonl").read_text().splitlines() for name in json.loads(line)}


def judged(folder: Path) -> set[str]:
    """Every name in the metrics of three reward models, of two steps each."""
    from lightrft_apps import RMConfig, train_reward_model

    rows = {
        "pairs": [{"prompt": f"{i}+1=", "answers": [str(i + 1), str(i)], "scores": [1, 0]} for i in range(8)],
        "steps": [{"prompt": f"{i}+1=", "steps": [str(i), str(i + 1)], "labels": [False, True]} for i in range(8)],
    }
    for name, content in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in content))
    names: set[str] = set()
    for loss, data, flags in (
        ("uncertainty", "pairs", {"fp16": True}),
        ("regression", "pairs", {}),
        ("steps", "steps", {"step_separator": "+"}),
    ):
        source = folder / f"{data}.jsonl"
        places = {"pretrain": folder / "judge", "train_data": source, "eval_data": source, "output_dir": folder / loss}
        train_reward_model(RMConfig.create(**places, loss_type=loss, train_batch_size=4, eval_steps=1, **flags))
        lines = (folder / loss / "metrics.jsonl").read_text().splitlines()
        names |= {name for line in lines for name in json.loads(line)}
    return names


@pytest.mark.usefixtures("one_thread")
def test_the_glossary_has_the_names_of_real_runs_and_no_other(
    tiny_run: Callable[..., set[str]], tiny_files: Path, tmp_path: Path
) -> None:
    by_rules = tiny_run("rules", rule_reward="number:1.0,format:0.5", eval_temperature=1.0, eval_n_samples_per_prompt=4)
    function = tmp_path / "reward.py"
    function.write_text(
        "def score(prompts, responses, labels):\n"
        "    lengths = [len(response) for response in responses]\n"
        "    return {'rewards': lengths, 'scores': [length / 3 for length in lengths], 'extra_logs': {'n': lengths}}\n"
    )
    by_function = tiny_run("function", reward_fn=f"{function}:score", init_kl_coef=0.1, train_batch_size=16)

    by_critic = tiny_run("critic", reward_fn=f"{function}:score", algorithm="ppo", teacher_kl_coef=0.1)
    in_half = tiny_run("half", "experts", rule_reward="number", algorithm="ppo", fp16=True, aux_loss_coef=0.1)

    seen = by_rules | by_function | by_critic | in_half | tuned(tiny_files) | judged(tiny_files)
    if VLLM:
        seen |= tiny_run("vllm", reward_fn=f"{function}:score", engine_type="vllm", enforce_eager=True)
    assert undocumented(seen) == set()
    unseen = {name for name, pattern in documented_names().items() if not any(map(pattern.fullmatch, seen))}
    assert {name for name in unseen if VLLM or not OF_AN_ENGINE.match(name)} == set()
    assert {"reward/part/number", "reward/part/format", "eval/pass@4"} <= by_rules
    assert {"reward/extra/n", "policy/kl_reference", "time/checkpoint"} <= by_function


# Flags


@cache
def known_flags() -> frozenset[str]:
    """Those of every command, as the reference of the manual has them, and of our scripts."""
    from lightrft_apps.config.reading.schema import ALIASES
    from lightrft_apps.main import COMMANDS

    sys.path.append(str(ROOT / "docs/source/_ext"))
    flag_tables = importlib.import_module("flag_tables")
    described = [flag_tables.asked(name) for name in COMMANDS] + [flag_tables.asked("reward", "replay")]
    printed = {flag for each in described if isinstance(each, str) for flag in FLAG.findall(each)}
    fields = {name: field for each in described if not isinstance(each, str) for name, field in each.fields().items()}
    assert len(fields) > 200
    negations = {f"no-{name}" for name, field in fields.items() if field.type is bool}
    scripts = [*ROOT.glob("benchmarks/*.py"), ROOT / "examples/launch/ray_train.py"]
    of_scripts = {flag for path in scripts for flag in re.findall(r'add_argument\(\s*"--([\w-]+)"', path.read_text())}
    of_quickstart = set(FLAG.findall((ROOT / "apps/lightrft_apps/config/commands/quickstart.py").read_text()))
    ours = printed | fields.keys() | negations | ALIASES.keys() | of_scripts | of_quickstart
    return frozenset(ours | OF_THE_PARSER | OF_UV_AND_PIP | OF_LAUNCHERS | OF_TRACKERS)


def test_every_flag_a_page_mentions_exists(page: Path) -> None:
    text = page.read_text()
    if page.name in ABOUT_OTHERS:
        text = re.sub(r"^\|[^|]*\|", "", text, flags=re.MULTILINE)
    assert set(FLAG.findall(text)) - known_flags() == set()


@pytest.mark.parametrize("recipe", sorted(ROOT.glob("examples/*.yaml")), ids=lambda path: path.name)
def test_every_recipe_runs_as_it_stands(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightrft_apps.config import COMMANDS, check, check_grm, check_rm, check_sft, stored_config
    from lightrft_apps.config.commands.chat import parse_chat
    from lightrft_apps.config.commands.eval import parse_eval

    checks: dict[str, Callable[[Any], list[str]]] = {"rl": check, "sft": check_sft, "srm": check_rm, "grm": check_grm}
    monkeypatch.chdir(ROOT)
    assert set(FLAG.findall(recipe.read_text())) - known_flags() == set()
    if recipe.name.startswith(("chat_", "eval_")):
        (parse_chat if recipe.name.startswith("chat_") else parse_eval)(["--config", str(recipe)])
        return
    config = stored_config(recipe)
    problems = checks[COMMANDS[type(config)]](config)
    assert [problem for problem in problems if VLLM or "--extra vllm" not in problem] == []


# Links, paths and examples


def test_every_relative_link_leads_somewhere(page: Path) -> None:
    targets = [link.partition("#")[0] for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_links_to_elsewhere_are_well_formed_and_encrypted(page: Path) -> None:
    outward = [link for link in LINK.findall(page.read_text()) if "://" in link]
    assert [link for link in outward if not re.fullmatch(r"https://[\w-]+(\.[\w-]+)+(/\S*)?", link)] == []


def test_every_link_to_a_section_finds_its_heading(page: Path) -> None:
    missing = []
    for link in LINK.findall(page.read_text()):
        file, _, section = link.partition("#")
        if section and "://" not in link:
            headings = re.findall(r"^#+ (.*)$", (page.parent / file if file else page).read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            missing += [] if section in anchors else [link]
    assert missing == []


def test_every_result_says_how_it_was_made() -> None:
    folder = ROOT / "docs/benchmarks"
    page = (folder / "README.md").read_text()
    assert [path.name for path in folder.iterdir() if path.name != "README.md" and f"`{path.name}`" not in page] == []
    assert [path.name for path in ROOT.glob("benchmarks/*.py") if f"benchmarks/{path.name}" not in page] == []


@pytest.mark.parametrize("name", ["README.md", "README_zh.md"])
def test_the_readme_states_what_was_measured(name: str) -> None:
    runs = json.loads((ROOT / "docs/benchmarks/quickstart.json").read_text())["runs"]
    before, after = ([run[f"accuracy_{when}"] for run in runs] for when in ("before", "after"))
    low, high = min(run["interval"][0] for run in after), max(run["interval"][1] for run in after)
    values = [run["value"] for run in [*before, *after]]
    measured = {f"{value:.0%}" for value in [min(values), min(run["value"] for run in after), max(values), low, high]}
    head = (ROOT / name).read_text().partition("\n## ")[0]
    assert set(re.findall(r"\d+%", head)) == measured | {"95%"}
    assert len({f"{run['value']:.0%}" for run in before}) == 1


def test_every_path_a_page_mentions_is_there(page: Path) -> None:
    assert [path for path in PATH.findall(page.read_text()) if not (ROOT / path).exists()] == []


def test_python_examples_compile_and_what_they_import_of_ours_exists(page: Path) -> None:
    for code in python_blocks(page.read_text()):
        compile(code, str(page), "exec")
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("lightrft"):
                public = vars(importlib.import_module(str(node.module)))
                names = public.get("__all__", public)
                assert [alias.name for alias in node.names if alias.name not in names] == []


@pytest.mark.parametrize("name", ["packages/lightrft-core/README.md", ALGORITHMS])
def test_examples_that_need_nothing_run(name: str) -> None:
    blocks = python_blocks((ROOT / name).read_text())
    assert blocks
    for code in blocks:
        exec(compile(code, name, "exec"), {})


def test_the_table_of_one_name_and_many_numbers_is_computed() -> None:
    import torch

    from lightrft_core import group_norm

    rewards = [1.0, 0.0, 0.0, 0.0]
    winner, *others = rewards
    above_mean = winner - statistics.fmean(rewards)
    computed = {
        "unbiased": above_mean / (statistics.stdev(rewards) + 1e-6),
        "biased": above_mean / (statistics.pstdev(rewards) + 1e-6),
        "leave-one-out": winner - statistics.fmean(others),
        "mean only": above_mean,
    }
    assert statistics.pstdev(others) == 0, "leave-one-out: a deviation of 0 divides nothing"
    (table,) = re.findall(r"### One name, many numbers\n(.*?)\n#", (ROOT / ALGORITHMS).read_text(), re.DOTALL)
    printed = dict(re.findall(r"^\| ([\w -]+) \|.*\| (\d\.\d\d) \|", table, re.MULTILINE))
    assert printed == {name: f"{value:.2f}" for name, value in computed.items()}
    advantages = group_norm(torch.tensor([rewards]), torch.ones(1, 4, dtype=torch.bool))
    assert math.isclose(advantages[0, 0].item(), computed["unbiased"], rel_tol=1e-6)


def test_the_estimators_of_the_divergence_have_the_expected_gradients_the_page_states() -> None:
    import torch

    from lightrft_core import KL_ESTIMATORS

    logits = torch.tensor([0.3, -1.2, 0.8, 0.1], dtype=torch.float64, requires_grad=True)
    ref = torch.tensor([-0.5, 0.4, 0.9, -1.0], dtype=torch.float64).log_softmax(-1)
    policy = logits.log_softmax(-1)

    def gradient(value: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(value, logits, retain_graph=True)[0]

    weight = policy.detach().exp()
    found = {name: gradient((weight * estimator(policy, ref)).sum()) for name, estimator in KL_ESTIMATORS.items()}
    forward, backward = (policy.exp() * (policy - ref)).sum(), (ref.exp() * (ref - policy)).sum()
    torch.testing.assert_close(found["k1"], torch.zeros_like(logits))
    torch.testing.assert_close(found["k2"], gradient(forward))
    torch.testing.assert_close(found["k3"], gradient(backward))
    assert not torch.allclose(found["k2"], found["k3"], rtol=0.1)


def test_the_loop_in_the_readme_is_the_trainers_but_for_timers_and_the_ranks_share() -> None:
    class Shortened(ast.NodeTransformer):
        def visit_With(self, node: ast.With) -> list[ast.stmt]:
            return node.body

        def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
            return node.value if isinstance(node.slice, ast.Slice) else node

    trainer = ast.parse((ROOT / "packages/lightrft-core/lightrft_core/trainer.py").read_text())
    (run,) = (node for node in ast.walk(trainer) if isinstance(node, ast.FunctionDef) and node.name == "run")
    (loop,) = (node for node in run.body if isinstance(node, ast.For))
    shown, *_ = python_blocks((ROOT / "README.md").read_text())
    assert ast.unparse(ast.parse(shown)) == ast.unparse(Shortened().visit(loop))


def test_the_table_of_six_algorithms_is_that_of_its_file() -> None:
    folder = ROOT / "docs/benchmarks"
    found = json.loads((folder / "compare_sums.json").read_text())["by_algorithm"]
    expected = {
        entry["algorithm"]: (
            f"{entry['accuracy_before']['value']:.1%}",
            "{:.1%} ({:.1f} to {:.1f})".format(
                entry["accuracy_after"]["value"], *(100 * end for end in entry["accuracy_after"]["interval"])
            ),
            f"{entry['accuracy_after']['lowest']:.0%} {entry['accuracy_after']['highest']:.0%}",
            f"{entry['reward_area']['mean']:.3f}",
            f"{entry['final_entropy']['mean']:.3f}",
        )
        for entry in found
    }
    rows = re.findall(
        r"^\| `(\w+)` \| (\d.*%) \| (.*) \| (.*) \| (.*) \| (.*) \|$", (folder / "README.md").read_text(), re.M
    )
    assert {name: tuple(cells) for name, *cells in rows} == expected
