#!/usr/bin/env bash
# Every package from its own wheel, in an empty environment of its own: it installs, imports, and its public names are
# there. Versions of everything else are those of uv.lock.
set -euo pipefail
cd "$(dirname "$0")/.."
unset UV_FIND_LINKS UV_PROJECT_ENVIRONMENT VIRTUAL_ENV PYTHONPATH

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

uv build --quiet --all-packages --wheel --out-dir "$scratch/wheels"
uv export --quiet --locked --all-packages --no-emit-workspace --no-hashes --no-annotate --no-header \
  --output-file "$scratch/versions.txt"

check() { # DISTRIBUTION [MODULE THAT MUST NOT BE THERE...]; TRY: a program to run beside the examples
  local name=$1 module=${1//-/_} start=$SECONDS
  shift
  uv venv --quiet "$scratch/venv"
  uv pip install --quiet --python "$scratch/venv" --find-links "$scratch/wheels" \
    --constraint "$scratch/versions.txt" "$scratch/wheels/$module"-*.whl
  (cd "$scratch" && venv/bin/python -P - "$module" "$@") <<'PYTHON'
import importlib, sys
from importlib.util import find_spec

name, *absent = sys.argv[1:]
module = importlib.import_module(name)
assert str(module.__file__).startswith(sys.prefix), f"{name} was not imported from its wheel but from {module.__file__}"
missing = [public for public in module.__all__ if not hasattr(module, public)]
assert not missing, f"{name} does not have what its __all__ promises: {missing}"
present = [other for other in absent if find_spec(other)]
assert not present, f"{name} alone brings {present} along"
PYTHON
  if [[ -n ${TRY:-} ]]; then (cd examples && "$scratch/venv/bin/python" -c "$TRY"); fi
  rm -rf "$scratch/venv"
  echo "$name installs and imports alone ($((SECONDS - start)) s)"
}

check lightrft-core transformers datasets lightrft_strategy lightrft_multimodal lightrft_rewards lightrft_apps
check lightrft-strategy vllm sglang deepspeed lightrft_multimodal lightrft_rewards lightrft_apps
check lightrft-multimodal lightrft_rewards lightrft_apps
TRY='from rewards_in_trl import reward
scores = reward(["2+2"] * 2, [r"\boxed{4}", r"\boxed{5}"], ["4"] * 2, ["mathematics"] * 2)
assert scores == [1.0, 0.0], scores' \
  check lightrft-rewards transformers datasets reasoning_gym fastapi lightrft_strategy lightrft_multimodal lightrft_apps
check lightrft-apps vllm sglang deepspeed
