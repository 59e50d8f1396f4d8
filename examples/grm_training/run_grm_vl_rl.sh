#!/usr/bin/env bash
# That judge learns further by GRPO: examples/grm_rl_qwen2_5_vl_3b.yaml; GPUS: how many of this machine. What is written behind goes to the command.
cd "$(dirname "$0")/../.." && exec uv run lightrft launch --nproc_per_node "${GPUS:-8}" rl --config examples/grm_rl_qwen2_5_vl_3b.yaml --fsdp "$@"
