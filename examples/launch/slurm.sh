#!/bin/bash
# A run on several nodes under Slurm: one torchrun a node, which meet at the first. From the repository's root:
#   sbatch examples/launch/slurm.sh --config run.yaml --fsdp
# Everything after the script's name goes to `lightrft rl`. Submitted again, the run goes on from its newest checkpoint.
#SBATCH --job-name=lightrft
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --exclusive
#SBATCH --requeue
#SBATCH --signal=TERM@120

set -euo pipefail
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
port=$((20000 + SLURM_JOB_ID % 10000))  # jobs may share a node

srun --kill-on-bad-exit=1 uv run --no-sync torchrun \
  --nnodes "$SLURM_JOB_NUM_NODES" --nproc-per-node "${SLURM_GPUS_ON_NODE:-1}" --max-restarts 3 \
  --rdzv-backend c10d --rdzv-endpoint "$head:$port" --rdzv-id "$SLURM_JOB_ID" \
  -m lightrft_apps rl "$@"
