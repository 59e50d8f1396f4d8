"""Generative judges: what they are asked, how they learn it, and what is made of what they say."""

from lightrft_rewards.models.judges.asking import JudgedByAsking, greedy, judge_comparisons
from lightrft_rewards.models.judges.form import JudgeForm
from lightrft_rewards.models.judges.generative import GenerativeScorer
from lightrft_rewards.models.judges.questions import Question, questions_of
from lightrft_rewards.models.judges.writing import JudgeWriter

__all__ = [
    "GenerativeScorer",
    "JudgeForm",
    "JudgeWriter",
    "JudgedByAsking",
    "Question",
    "greedy",
    "judge_comparisons",
    "questions_of",
]
