# Each target sets up what it needs; once that is done, it costs nothing (see tools/setup.sh).
.PHONY: setup demo test test-cuda lint types bench

setup:
	@tools/setup.sh

demo: setup
	.venv/bin/gsocc demo

test: setup
	.venv/bin/pytest -m "not cuda"

# On a GPU machine with its own torch and no network: make test-cuda PYTHON=python3 (see docs/renderers.md).
test-cuda: $(if $(PYTHON),,setup)
	$(if $(PYTHON),$(PYTHON) -m pytest -m cuda tests/renderers/test_gsplat_on_cuda.py,.venv/bin/pytest -m cuda)

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .

types: setup
	.venv/bin/mypy

bench: setup
	.venv/bin/gsocc bench render
