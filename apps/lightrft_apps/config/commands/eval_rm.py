"""The configuration and command line of `lightrft eval-rm`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from lightrft_apps.config.checks.attention import attention_problems
from lightrft_apps.config.checks.bounds import BOUNDS, ZERO_OR_MORE, out_of_bounds
from lightrft_apps.config.checks.places import folder_of_a_run, missing_folder, missing_source, unusable_folder
from lightrft_apps.config.checks.preferences import missing_preferences
from lightrft_apps.config.errors import ConfigError
from lightrft_apps.config.named_models import named_models
from lightrft_apps.config.reading.flat import to_flat
from lightrft_apps.config.reading.parse import exit_on_config_error, parse
from lightrft_apps.config.sections import ModelArgs

ABOUT = """\
Let reward models judge comparisons that people have judged, and report how far they agree.

Of each model and head: accuracy with its 95% interval, ties stated; AUC; calibration; margins; length bias; with heads
for safety, over-refusal; all of it by source as well. Into --output_dir come report.html (everything, in one file),
eval.json (every number), eval.svg (a picture), judged.jsonl (every comparison with its scores) and rejected.jsonl (rows
that cannot be used). docs/source/best_practice/eval_rm.md says exactly what each number is. Under lightrft launch,
each process judges its part of the comparisons.

examples:
  lightrft eval-rm --reward_pretrain runs/rm/final --eval_data heldout.jsonl --output_dir runs/rm/eval
  lightrft eval-rm --reward_pretrain old=runs/a/final,new=runs/b/final --eval_data hpdv3:test.json,pairs.jsonl
  lightrft launch --nproc_per_node 8 eval-rm --config evaluation.yaml --bf16"""


@dataclass(frozen=True)
class JudgedModelsArgs:
    """The reward models"""

    reward_pretrain: str
    """reward models, of judges that write too: a folder or hub name, called rm; or several, as NAME=FOLDER or alone"""
    heads: str | None = None
    """labels to compare with, each as LABEL or LABEL=HEAD, separated by commas; default: all that the model's fit"""
    reward_max_len: int | None = None
    """longest question with its answer, in tokens; a longer one counts as not judged; default: as it was trained"""
    reward_token_budget: int = 16384
    """upper bound on tokens that a reward model reads at once, padding included"""
    value_prefix_head: str | None = None
    """what a foreign checkpoint calls its head's weights; default: what it says of itself, or score"""
    bf16: bool = False
    """bf16 weights and compute, the head in float32"""
    attn_implementation: str | None = None
    """attention kernel, as transformers names it; its own choice is sdpa"""
    trust_remote_code: bool = False
    """let the models' repositories run their own Python code"""


@dataclass(frozen=True)
class ComparisonsArgs:
    """The comparisons"""

    eval_data: str
    """comparisons: a file, a folder or a hub name, or hpdv3:FILE by format; several with commas"""
    eval_split: str = "test"
    """split of the comparisons"""
    eval_max_samples: int | None = None
    """use only the first so many rows of each source; default: all"""
    prompt_key: str = "prompt"
    """column that holds the question: a text, or a conversation as a list of messages"""
    chosen_key: str = "chosen"
    """column that holds the better answer"""
    rejected_key: str = "rejected"
    """column that holds the worse answer"""
    images_key: str = "images"
    """column that holds a question's image or list of images"""
    videos_key: str = "videos"
    """column that holds a question's video or list of videos"""
    audios_key: str = "audios"
    """column that holds a question's sound or list of sounds"""
    media_root: str | None = None
    """folder that paths of media are relative to and may not leave; default: what the format says"""
    media_urls: bool = False
    """fetch media that are given as URLs"""
    seed: int = 42
    """of the order in which the answers of a comparison stand"""


@dataclass(frozen=True)
class MeasureArgs:
    """The measures"""

    tie_threshold: float | None = None
    """answers scored no further apart are judged equal; default: what is best on one half is used on the other"""
    safe_threshold: float = 0.0
    """score of the head safe from which on an answer passes for safe, as a gate of lightrft rl has it"""


@dataclass(frozen=True)
class WrittenArgs:
    """Report"""

    output_dir: str | None = None
    """folder for the report, its numbers and picture, every judged comparison and rejected rows; default: print only"""
    progress: bool = True
    """show progress on the terminal"""


@dataclass(frozen=True, kw_only=True)
class EvalRMCommand:
    """Everything `lightrft eval-rm` is told."""

    models: JudgedModelsArgs
    data: ComparisonsArgs
    measures: MeasureArgs = field(default_factory=MeasureArgs)
    report: WrittenArgs = field(default_factory=WrittenArgs)


def parse_eval_rm(argv: Sequence[str]) -> EvalRMCommand:
    """The checked configuration. Raises SystemExit: code 0 after --help, 2 after printing what is wrong."""
    with exit_on_config_error("lightrft eval-rm"):
        command = parse(EvalRMCommand, argv, prog="lightrft eval-rm", about=ABOUT)
        require_valid_eval_rm(command)
        return command


def require_valid_eval_rm(command: EvalRMCommand) -> None:
    """Raise ConfigError with everything that would stop the evaluation."""
    models = command.models
    attended = ModelArgs("", bf16=models.bf16, attn_implementation=models.attn_implementation)
    problems = [*out_of_bounds(to_flat(command), _BOUNDS), *attention_problems(attended), *_problems(command)]
    if problems:
        raise ConfigError(problems)


def judged_heads(args: JudgedModelsArgs) -> dict[str, str | None] | None:
    """label -> the model's head to compare it with, None for the one that fits; None for all labels.

    Raises ConfigError for a label that is there twice, or none.
    """
    if args.heads is None:
        return None
    heads: dict[str, str | None] = {}
    for term in args.heads.split(","):
        label, _, head = (part.strip() for part in term.partition("="))
        if not label or label in heads:
            raise ConfigError([f"--heads {args.heads}: write each label once, as LABEL or LABEL=HEAD"])
        heads[label] = head or None
    return heads


_BOUNDS = BOUNDS | {"tie_threshold": ZERO_OR_MORE}


def _problems(command: EvalRMCommand) -> Iterator[str]:
    try:
        for folder in named_models(command.models.reward_pretrain).values():
            yield from missing_source("reward_pretrain", folder)
        judged_heads(command.models)
    except ConfigError as error:
        yield from error.problems
    yield from missing_preferences("eval_data", command.data.eval_data)
    if command.data.media_root is not None:
        yield from missing_folder("media_root", command.data.media_root)
    if command.report.output_dir is not None:
        yield from unusable_folder(command.report.output_dir)
        yield from folder_of_a_run(command.report.output_dir)
