"""Prompts of a run, those that ask a judge among them: `--prompt_data judge:hpdv3:FILE`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lightrft_apps.config.judged_sources import split_judged
from lightrft_apps.models.senses import Senses
from lightrft_core import Prompt
from lightrft_rewards.models.judges import JudgeForm, JudgeWriter, questions_of
from lightrft_rewards.models.judges.asking import rejected as cannot_be_asked
from lightrft_rewards.preferences import Comparison, PreferenceKeys, load_comparisons
from lightrft_strategy.data import LoadedPrompts, PromptDataError, PromptSpec, Rejected, load_prompts
from lightrft_strategy.data.rejected import RowError

FORMS: Mapping[str, Mapping[str, Any]] = {
    "judge": {},
    "judge-think": {"reasoning": True},
    "judge-grade": {"kind": "pointwise"},
    "judge-grade-think": {"kind": "pointwise", "reasoning": True},
}
"""What stands before the colon -> how the judge is asked, other than its judge.json says, or than judges usually are.
"""


@dataclass(frozen=True)
class AllPrompts(LoadedPrompts):
    """form: how a judge is asked, by the first source that asks one; None: none does."""

    form: JudgeForm | None = None


def load_all_prompts(spec: PromptSpec, senses: Senses, folder: str) -> AllPrompts:
    """As load_prompts, whose Raises hold; of sources that ask a judge every pair of answers is a prompt in both orders.

    folder: of the model, whose judge.json, if there is one, says how it is asked.
    """
    named = [split_judged(source) for source in spec.sources]
    plain = [source for name, source in named if not name]
    read = LoadedPrompts([], [], [])
    if plain:
        read = load_prompts(
            replace(spec, prompt_data=",".join(plain), prompt_data_probs=None), senses.tokenizer, senses.encoder
        )
    whole, forms = AllPrompts([], read.rejected, read.warnings), list[JudgeForm]()
    several, of_plain = sum(bool(name) for name, _ in named) > 1, iter(read.sources)
    for name, source in named:
        if not name:
            whole.sources.append(next(of_plain))
            continue
        prompts, rejected, form = _judged(spec, senses, folder, name, source)
        forms.append(form)
        whole.rejected.extend(rejected)
        if not prompts:
            raise PromptDataError(_nothing(f"{name}:{source}", rejected), whole.rejected)
        named_prompts = [replace(prompt, uid=f"{name}:{source}/{prompt.uid}") for prompt in prompts]
        whole.sources.append(named_prompts if several else prompts)
    return replace(whole, form=forms[0] if forms else None)


def _judged(
    spec: PromptSpec, senses: Senses, folder: str, name: str, source: str
) -> tuple[list[Prompt], list[Rejected], JudgeForm]:
    keys = PreferenceKeys(images=spec.images_key, videos=spec.videos_key, audios=spec.audios_key)
    loaded = load_comparisons(
        source,
        split=spec.prompt_split,
        max_samples=spec.max_samples,
        keys=keys,
        media_root=spec.media_folder,
        flag="--prompt_data",
    )
    own = JudgeForm.read(folder) or JudgeForm(heads=loaded.heads, apply_chat_template=spec.apply_chat_template)
    if own.apply_chat_template != spec.apply_chat_template:
        remedy = "add --apply_chat_template" if own.apply_chat_template else "leave --apply_chat_template out"
        raise PromptDataError(f"the judge's judge.json says how it was taught to read its questions: {remedy}")
    form = replace(own, **FORMS[name])
    unbound = replace(form, max_len=None)
    writer = JudgeWriter(
        senses.tokenizer, senses.encoder, unbound, media_urls=spec.media_urls, media_limits=spec.media_limits
    )
    prompts: list[Prompt] = []
    rejected = list(loaded.rejected)
    for comparison in loaded.comparisons:
        try:
            prompts += _prompts(comparison, writer, spec.prompt_max_len)
        except RowError as error:
            rejected.append(cannot_be_asked(comparison, str(error)))
    return prompts, rejected, form


def _prompts(comparison: Comparison, writer: JudgeWriter, longest: int | None) -> list[Prompt]:
    prompts = [writer.prompt(question) for question in questions_of(comparison, writer.form, both_orders=True)]
    length = max(len(prompt.token_ids) for prompt in prompts)
    if longest is not None and length > longest:
        raise RowError(f"asks in {length} tokens, more than --prompt_max_len {longest}")
    return prompts


def _nothing(source: str, rejected: Sequence[Rejected]) -> str:
    reasons = "".join(f"\n  {item}" for item in rejected[:3])
    return f"{source}: a judge can be asked about none of its comparisons; the first:{reasons}"
