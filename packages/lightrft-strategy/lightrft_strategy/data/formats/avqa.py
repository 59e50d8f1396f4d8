"""AVQA (Yang et al. 2022, doi 10.1145/3503161.3548291) for sound alone, as R1-AQA has it (arXiv 2503.11197)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from lightrft_strategy.data.formats.choices import checked_choices, choice_row, right_choice
from lightrft_strategy.data.formats.fields import field_of, text_of

_VIDEO = re.compile(r"\bvideo\b")


def avqa(content: Mapping[str, Any]) -> dict[str, Any]:
    """audio_path, question_text, multi_choice, answer (a number from 0). A question about "the video", of which only
    the sound is heard, asks about "the audio". Raises RowError for a row of another form.
    """
    _, audio = field_of(content, "audio_path", "audio")
    question = _VIDEO.sub("audio", text_of(content, "question_text", "question"))
    choices = checked_choices(*field_of(content, "multi_choice", "choices"))
    answer = right_choice("answer", content.get("answer"), choices)
    return choice_row(question, choices, answer, audios=audio)
