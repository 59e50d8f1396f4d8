# Every target works in a fresh checkout: `uv run` makes the environment from uv.lock first.

.PHONY: format check test wheels docs docs-live quickstart

format: ## put the code into its one form
	uv run ruff check --fix .
	uv run ruff format .

check: ## lint, form, types and the laws of the house
	uv run ruff check .
	uv run ruff format --check .
	uv run mypy
	uv run pytest -q tests/test_laws.py tests/test_docs*.py

test: ## all tests but the long proofs
	uv run pytest

wheels: ## every package installs and imports alone, from its own wheel
	bash .ci/wheels.sh

docs: ## the manual as a site, docs/build/index.html
	uv run sphinx-build -W -n --keep-going docs/source docs/build

docs-live: ## the manual at http://localhost:8000, built again at every change
	uv run sphinx-autobuild --watch apps --watch packages --watch docs/benchmarks docs/source docs/build

quickstart: ## a real model learns to add
	uv run lightrft quickstart
