#!/usr/bin/env bash
# A judge of pictures: examples/grm_qwen2_5_vl_3b.yaml; GPUS: how many of this machine. What is written behind goes to the command.
cd "$(dirname "$0")/../.." && exec uv run lightrft launch --nproc_per_node "${GPUS:-8}" grm --config examples/grm_qwen2_5_vl_3b.yaml --fsdp "$@"
