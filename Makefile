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

# The commands of docs/benchmarks.md for a CPU; they write their tables into that page.
RENDER = .venv/bin/gsocc bench render --device cpu --markdown docs/benchmarks.md
FEW = --renderer splat_cpu_cached --renderer splat_cpu --renderer volume_cpu --cache-max-gb 4

bench: setup
	$(RENDER) --size 180x320 --scale 0.3 --scale 0.5 --json runs/bench/render_cpu.json
	$(RENDER) --size 180x320 --size 360x640 --scene street --threads-scaling $(FEW) \
	  --json runs/bench/growth_cpu.json --place "bench growth cpu"
	$(RENDER) --grid 24x300x300 --size 180x320 $(FEW) --json runs/bench/large_cpu.json --place "bench large cpu"
	.venv/bin/gsocc bench eval --json runs/bench/eval_cpu.json --markdown docs/benchmarks.md
	.venv/bin/gsocc bench train --device cpu --json runs/bench/train_cpu.json --markdown docs/benchmarks.md
	.venv/bin/gsocc bench reader --json runs/bench/reader.json --markdown docs/benchmarks.md
	.venv/bin/gsocc bench label-free --json runs/bench/label_free.json --markdown docs/metrics.md
