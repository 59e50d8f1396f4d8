#!/usr/bin/env bash
# R1-AQA, GRPO on questions about sounds: examples/grpo_avqa_qwen2_audio_7b.yaml; GPUS: how many of this machine. What is written behind goes to the command.
cd "$(dirname "$0")/../.." && exec uv run lightrft launch --nproc_per_node "${GPUS:-8}" rl --config examples/grpo_avqa_qwen2_audio_7b.yaml --fsdp "$@"
