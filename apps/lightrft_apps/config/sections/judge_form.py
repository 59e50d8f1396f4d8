"""What a generative judge is asked, and what it learns to say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lightrft_apps.config.sections.reward_model import SCORE


@dataclass(frozen=True)
class JudgeFormArgs:
    """The judge"""

    judge_kind: Literal["pairwise", "pointwise"] = "pairwise"
    """what it is shown: two answers, to say which is better, or one, to give it a grade"""
    heads: str = SCORE
    """what is judged, named as the labels of the data are, such as helpful,safe; one question for each"""
    judge_reasoning: bool = False
    """let it think before it judges; it learns from written judgements, as imagegen-cot-reward-5k has them"""
    judge_ties: bool = True
    """let it say that two answers are equally good; without, comparisons with equal labels are rejected"""
    both_orders: bool = True
    """learn every pair in both orders, so that what stands first is not better for that"""
    lowest_grade: float = 1.0
    """with judge_kind pointwise: the grade of the worst answers"""
    highest_grade: float = 5.0
    """with judge_kind pointwise: the grade of the best answers"""
    generate_max_len: int = 1024
    """longest judgement when the judge is asked, in tokens"""
