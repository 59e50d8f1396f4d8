#!/usr/bin/env bash
# GRPO on Geometry3K: examples/grpo_geo3k_qwen2_5_vl_7b.yaml; GPUS: how many of this machine. What is written behind goes to the command.
cd "$(dirname "$0")/../.." && exec uv run lightrft launch --nproc_per_node "${GPUS:-8}" rl --config examples/grpo_geo3k_qwen2_5_vl_7b.yaml --fsdp "$@"
