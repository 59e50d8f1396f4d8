#!/usr/bin/env bash
# A scalar reward model of sounds: examples/srm_qwen2_audio_7b.yaml; GPUS: how many of this machine. What is written behind goes to the command.
cd "$(dirname "$0")/../.." && exec uv run lightrft launch --nproc_per_node "${GPUS:-8}" srm --config examples/srm_qwen2_audio_7b.yaml --fsdp "$@"
