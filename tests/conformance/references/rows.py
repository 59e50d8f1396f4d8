"""Each algorithm with its paper's constants in sight: `ROWS[name]`, to be compared with an implementation's table.

A row is the loss alone: none resamples questions, adds an overlong penalty or leaves out truncated answers. Where a
paper gives no coefficient of the KL, the number is a choice of this table. CPGD's drift coefficient, .01, is the
default its authors published with their code.
"""

from __future__ import annotations

from dataclasses import replace

from .row import Row

__all__ = ["ROWS", "Row"]

_DAPO = Row(
    paper="2503.14476",
    advantage="group_norm",
    objective="ppo_clip",
    aggregation="token_mean",
    clip_low=0.2,
    clip_high=0.28,
)
_REINFORCE = Row(
    paper="Williams 1992",
    advantage="raw_return",
    objective="policy_gradient",
    aggregation="sequence_mean_token_sum",
)
_GSPO = Row(
    paper="2507.18071",
    advantage="group_norm",
    objective="gspo",
    aggregation="sequence_mean_token_mean",
    clip_low=3e-4,
    clip_high=4e-4,
)

ROWS: dict[str, Row] = {
    "grpo": Row(
        paper="2402.03300",
        advantage="group_norm",
        objective="ppo_clip",
        aggregation="sequence_mean_token_mean",
        clip_low=0.2,
        clip_high=0.2,
        kl_coef=0.04,
        kl_place="loss",
        kl_estimator="k3",
    ),
    "dr_grpo": Row(
        paper="2503.20783",
        advantage="group_mean",
        objective="ppo_clip",
        aggregation="constant_length",
        clip_low=0.2,
        clip_high=0.2,
    ),
    "dapo": _DAPO,
    "high_entropy": replace(_DAPO, paper="2506.01939", entropy_share=0.2),
    "gspo": _GSPO,
    "gspo_token": replace(_GSPO, objective="gspo_token"),
    "gmpo": Row(
        paper="2507.20673",
        advantage="group_norm",
        objective="gmpo",
        aggregation="sequence_mean_token_mean",
        clip_low=0.4,
        clip_high=0.4,
    ),
    "cpgd": Row(
        paper="2505.12504",
        advantage="group_mean",
        objective="cpgd",
        aggregation="token_mean",
        clip_low=0.2,
        clip_high=0.2,
        drift_coef=0.01,
        drift_cap=0.2,
    ),
    "cispo": Row(
        paper="2506.13585",
        advantage="group_norm",
        objective="cispo",
        aggregation="token_mean",
        clip_high=4.0,
    ),
    "reinforce": _REINFORCE,
    "batch_mean": replace(_REINFORCE, advantage="batch_mean"),
    "rloo": Row(
        paper="2402.14740",
        advantage="leave_one_out",
        objective="policy_gradient",
        aggregation="sequence_mean_token_sum",
        kl_coef=0.03,
        kl_place="sequence_reward",
        kl_estimator="k1",
    ),
    "reinforce_pp": Row(
        paper="2501.03262",
        advantage="return_to_go",
        objective="ppo_clip",
        aggregation="token_mean",
        whiten=True,
        clip_low=0.2,
        clip_high=0.2,
        kl_coef=0.01,
        kl_place="token_reward",
        kl_estimator="k1",
    ),
    "reinforce_pp_baseline": Row(
        paper="2501.03262",
        advantage="group_mean",
        objective="ppo_clip",
        aggregation="token_mean",
        whiten=True,
        clip_low=0.2,
        clip_high=0.2,
        kl_coef=0.01,
        kl_place="loss",
        kl_estimator="k2",
    ),
    "ppo": Row(
        paper="1707.06347",
        advantage="gae",
        objective="ppo_clip",
        aggregation="token_mean",
        whiten=True,
        clip_low=0.2,
        clip_high=0.2,
        kl_coef=0.01,
        kl_place="token_reward",
        kl_estimator="k1",
        lam=0.95,
        value_clip=0.2,
    ),
}
