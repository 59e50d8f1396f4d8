"""What a model is asked: the prompts of each benchmark, or of --prompt_data, as this model reads them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lightrft_apps.config import ConfigError
from lightrft_apps.config.eval import EvalCommand
from lightrft_apps.config.settling import Settled, settled
from lightrft_apps.config.voting import extract_of
from lightrft_apps.data.judge_prompts import load_all_prompts
from lightrft_apps.models import compose
from lightrft_apps.models.senses import Senses
from lightrft_core import Prompt, SamplingParams
from lightrft_strategy.data import PromptSpec, Rejected, flags_called
from lightrft_strategy.data.json_values import readable_json
from lightrft_strategy.data.rows import unique_names
from lightrft_strategy.data.sources import open_source

NO_TEMPLATE = (
    "the tokenizer has a chat template, and the prompts of benchmarks are written without it: add "
    "--apply_chat_template unless this is a base model"
)


@dataclass(frozen=True)
class Task:
    """Prompts to answer, and how. asked: the flags it comes from.

    groups: by prompt, the values of the columns that are reported apart. rejected: rows that cannot be used.
    """

    asked: Settled
    prompts: list[Prompt]
    sampling: SamplingParams
    groups: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    rejected: list[Rejected] = field(default_factory=list[Rejected])
    warnings: list[str] = field(default_factory=list[str])

    @property
    def name(self) -> str:
        return self.asked.name

    def vote(self, prompt: Prompt, response: str) -> str | None:
        """What a response is counted as; None if nothing can be read out of it."""
        extract = extract_of(self.asked.reward, prompt.route)
        return None if extract is None else extract(response)

    @property
    def votes(self) -> bool:
        """Whether the answers to every prompt can be counted."""
        routes = {prompt.route for prompt in self.prompts}
        return all(extract_of(self.asked.reward, route) is not None for route in routes)


def load_tasks(command: EvalCommand, senses: Senses, folder: str) -> list[Task]:
    """Everything that is asked. folder: of the model.

    Raises PromptDataError, ConfigError for a search that needs answers which can be counted and has none.
    """
    tasks = [_load(asked, senses, folder) for asked in settled(command)]
    for task in tasks:
        if command.search.search == "majority" and not task.votes:
            raise ConfigError(["--search majority: not all prompts have a rule that reads answers to be counted"])
    return tasks


def _load(asked: Settled, senses: Senses, folder: str) -> Task:
    spec = compose.prompt_spec(asked.data)
    with flags_called({} if asked.chosen is None else {"--prompt_data": f"--benchmark {asked.name}"}):
        loaded = load_all_prompts(spec, senses, folder)
    prompts = compose.held_out(loaded.sources)
    if asked.name:
        prompts = [replace(prompt, uid=f"{asked.name}/{prompt.uid}") for prompt in prompts]
    warnings = list(loaded.warnings)
    if asked.name and not spec.apply_chat_template and senses.tokenizer.chat_template:
        warnings.append(NO_TEMPLATE)
    answers = asked.answers
    sampling = replace(compose.law_of(answers), n=answers.n_samples_per_prompt)
    groups = _groups(spec, asked.groups, f"{asked.name}/eval/" if asked.name else "eval/")
    return Task(asked, prompts, sampling, groups, loaded.rejected, warnings)


def _groups(spec: PromptSpec, columns: tuple[str, ...], before: str) -> dict[str, dict[str, str]]:
    """By uid, the values of those columns that a row has. before: what prompts' uids begin with."""
    if not columns:
        return {}
    opened = [
        table
        for source in spec.sources
        for table in open_source(source, split=spec.prompt_split, keys=spec.keys, count=spec.max_samples)
    ]
    found: dict[str, dict[str, str]] = {}
    for table, name in zip(opened, unique_names(opened), strict=True):
        for row in table.read():
            if not isinstance(row, Rejected):
                values = {**row.whole, **row.content}
                found[f"{before}{name}:{row.number}"] = {
                    column: str(readable_json(values[column])) for column in columns if values.get(column) is not None
                }
    return found
