#!/usr/bin/env bash
# GRPO on GSM8K: examples/grpo_gsm8k_qwen2_5_0_5b.yaml; GPUS: how many of this machine. What is written behind goes to the command.
cd "$(dirname "$0")/../.." && exec uv run --extra vllm lightrft launch --nproc_per_node "${GPUS:-8}" rl --config examples/grpo_gsm8k_qwen2_5_0_5b.yaml --fsdp "$@"
