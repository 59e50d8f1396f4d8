"""TRL's GRPOTrainer on the task, a step a turn.

python -m vs_trl_sides.trl_side SHAPE REWARD SEED STEPS FOLDER [name=value]

Values are JSON. Names: dtype ("bfloat16": weights, gradients and moments in it; "mixed": float32 weights and autocast;
"float32"), micro (sequences in a micro-batch), keep_freed (glibc as LightRFT sets it), or any field of GRPOConfig.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from lightrft_apps import RLConfig
from lightrft_apps.models import compose
from lightrft_strategy.data import PromptStream, load_prompts
from lightrft_strategy.devices import keep_freed_memory
from lightrft_strategy.smollm2 import smollm2
from vs_trl_sides import rewards
from vs_trl_sides.task import BETAS, EPS, EXTRA, LEARNING_RATE, MAX_NORM, SHAPES, Shape, recipe
from vs_trl_sides.turns import Turns


class TimedGRPO(GRPOTrainer):  # type: ignore[misc]
    """The trainer with its phases timed."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.phases: dict[str, float] = {}
        self.seen: dict[str, Any] = {}
        super().__init__(*args, **kwargs)

    def add(self, phase: str, start: float) -> None:
        self.phases[phase] = self.phases.get(phase, 0.0) + time.perf_counter() - start

    def _generate(self, prompts: Any) -> Any:
        start = time.perf_counter()
        result = super()._generate(prompts)
        self.add("generate", start)
        ids = [list(row) for row in result[0]]
        self.seen |= {"prompt_tokens": [len(row) for row in ids], "prompts": digest(ids)}
        self.seen |= {"lengths": [len(row) for row in result[1]]}
        return result

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        result = super()._calculate_rewards(*args, **kwargs)
        self.add("reward", start)
        self.seen |= {"rewards": result[:, 0].tolist()}
        return result

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        start = time.perf_counter()
        result = super()._prepare_inputs(generation_batch)
        self.add("prepare", start)
        return result

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        result = super().training_step(*args, **kwargs)
        self.add("training_step", start)
        return result


class Paced(TrainerCallback):  # type: ignore[misc]
    """Waits for its turn before each step, and says what the step before it took."""

    trainer: TimedGRPO

    def __init__(self, turns: Turns) -> None:
        self.turns, self.report = turns, dict[str, Any]()
        self._after_backward = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self.turns.wait(self.report)
        self.trainer.phases, self.trainer.seen = {}, {}

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self._after_backward = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **others: Any) -> None:
        self.trainer.add("optimiser", self._after_backward)
        phases = self.trainer.phases
        learn = phases["training_step"] - phases["prepare"]
        times = {"generate": phases["generate"], "reward": phases["reward"]}
        times |= {"learn": learn + phases["optimiser"], "learn/optimiser": phases["optimiser"]}
        self.report = self.trainer.seen | {"phases": times, "trained": len(self.trainer.seen["lengths"])}


def digest(prompts: list[list[int]]) -> str:
    """Names a step's distinct prompts, in order, by their tokens."""
    return hashlib.sha256(json.dumps(list(dict.fromkeys(map(tuple, prompts)))).encode()).hexdigest()[:16]


def prompts_in_order(flags: dict[str, Any], tokenizer: Any) -> Dataset:
    """The prompts that LightRFT reads with these flags, step after step, as TRL's conversations."""
    config = RLConfig.create(**flags)
    loaded = load_prompts(compose.prompt_spec(config.data), tokenizer)
    episodes, seed = config.train.num_episodes, config.run.seed
    stream = PromptStream(loaded.sources, None, config.rollout.rollout_batch_size, episodes, seed)
    rows = [prompt for step in range(1, flags["max_steps"] + 1) for prompt in stream.batch(step)]
    chats = [[{"role": message.role, "content": message.content} for message in row.messages] for row in rows]
    return Dataset.from_dict({"prompt": chats, "label": [row.label for row in rows]})


def reward_function(name: str) -> Callable[..., list[float]]:
    """The function that LightRFT is given, called as TRL calls it."""
    function = getattr(rewards, name)

    def reward(prompts: Any, completions: Any, label: list[str], **others: Any) -> list[float]:
        return function(prompts, [answer[0]["content"] for answer in completions], label)  # type: ignore[no-any-return]

    return reward


def settings(shape: Shape, seed: int, steps: int, folder: str, wishes: dict[str, Any]) -> GRPOConfig:
    dtype, micro = wishes.pop("dtype", "bfloat16"), wishes.pop("micro", shape.trl_micro)
    return GRPOConfig(
        **{
            "output_dir": folder,
            "model_init_kwargs": {"dtype": "float32" if dtype == "mixed" else dtype},
            "bf16": dtype == "mixed",
            "use_cpu": not torch.accelerator.is_available(),
            "per_device_train_batch_size": micro,
            "gradient_accumulation_steps": shape.answers // micro,
            "num_generations": shape.samples,
            "max_completion_length": shape.answer,
            "temperature": 1.0,
            "beta": 0.0,
            "loss_type": "grpo",
            "num_iterations": 1,
            "learning_rate": LEARNING_RATE,
            "lr_scheduler_type": "constant",
            "optim": "adamw_torch_fused",
            "adam_beta1": BETAS[0],
            "adam_beta2": BETAS[1],
            "adam_epsilon": EPS,
            "weight_decay": 0.0,
            "max_grad_norm": MAX_NORM,
            "gradient_checkpointing": False,
            "shuffle_dataset": False,
            "max_steps": steps + EXTRA,
            "seed": seed,
            "dataloader_num_workers": 0,
            "dataloader_pin_memory": False,
            "logging_steps": 1000,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
        }
        | wishes
    )


def main(name: str, reward: str, seed: str, steps: str, folder: str, *words: str) -> None:
    turns, shape = Turns(), SHAPES[name]
    wishes = {key: json.loads(value) for key, value in (word.split("=", 1) for word in words)}
    if wishes.pop("keep_freed", True):
        keep_freed_memory()
    model = str(smollm2())
    tokenizer = AutoTokenizer.from_pretrained(model)
    pace = Paced(turns)
    trainer = TimedGRPO(
        model=model,
        reward_funcs=reward_function(reward),
        args=settings(shape, int(seed), int(steps), folder, wishes),
        train_dataset=prompts_in_order(recipe(shape, reward, int(seed), int(steps), folder), tokenizer),
        processing_class=tokenizer,
        callbacks=[pace],
    )
    body, head = trainer.model.model.parameters(), trainer.model.lm_head.weight
    pace.trainer = trainer
    pace.report = {"body": sum(p.numel() for p in body) - head.numel(), "head": head.numel()}
    trainer.train()


if __name__ == "__main__":
    main(*sys.argv[1:])
