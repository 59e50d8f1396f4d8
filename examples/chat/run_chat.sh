#!/usr/bin/env bash
# A conversation: examples/chat_qwen2_5_vl_7b.yaml. What is written behind goes to the command, such as --pretrain runs/NAME.
cd "$(dirname "$0")/../.." && exec uv run lightrft chat --config examples/chat_qwen2_5_vl_7b.yaml "$@"
