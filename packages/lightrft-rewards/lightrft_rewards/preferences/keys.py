"""Where rows of plain preference files keep what."""

from __future__ import annotations

from dataclasses import dataclass

from lightrft_strategy.data.rows import Keys


@dataclass(frozen=True)
class PreferenceKeys:
    """The names of a plain row's columns.

    prompt: what was asked, text or messages. chosen, rejected: the better answer and the worse one.
    margin: by how much the first is better. chosen_score, rejected_score: what each was given.
    answers: several answers; scores or ranks: one number for each, greater or smaller being better.
    reasoning: a written judgement of several answers, in the order in which they stand.
    response, score: one answer and its grade.
    labels: head -> what its scores (or score) are, where several things were judged.
    images, videos, audios: media that the question shows or plays, one or a list of each.
    """

    prompt: str = "prompt"
    chosen: str = "chosen"
    rejected: str = "rejected"
    margin: str = "margin"
    chosen_score: str = "score_chosen"
    rejected_score: str = "score_rejected"
    answers: str = "answers"
    scores: str = "scores"
    ranks: str = "ranks"
    reasoning: str = "reasoning"
    response: str = "response"
    score: str = "score"
    labels: str = "labels"
    images: str = "images"
    videos: str = "videos"
    audios: str = "audios"

    @property
    def of_question(self) -> Keys:
        """The keys that questions are read by, as prompts are."""
        return Keys(input=self.prompt, images=self.images, videos=self.videos, audios=self.audios)
