# Whatever needs the environment sets it up first; afterwards that costs nothing.
PRESET ?= digits
IMAGE ?= tfx-distill
VARIANT ?= cpu
BIN := .venv/bin

# Named after the contents it was made from, so that a clone's or a checkout's file times, and a
# move to another directory, neither hide a change nor feign one.
STATE := $(shell { pwd; cat requirements.in requirements.lock setup.py; } | cksum | cut -d ' ' -f 1)
READY := .venv/.ready-$(STATE)

.DEFAULT_GOAL := help
.PHONY: help setup run test test-rest test-real test-all check lint bench bench-pipeline bench-data bench-workers bench-unlabeled bench-search bench-gpu recipes chaos latency study image lock clean FORCE

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' Makefile

setup: $(READY) ## the environment in .venv; PYTHON=/path/to/python chooses another Python

run: $(READY) ## train, distill, export, judge and push: PRESET=digits ARGS='--set distill.alpha=0.5'
	@$(BIN)/tfx-distill run $(PRESET) $(ARGS)

# tests/conftest.py says which tests have to be in one worker.
PYTEST := $(BIN)/pytest -n 2

test: $(READY) ## proves the product, in minutes; ARGS='-m "not slow"' narrows it
	@$(PYTEST) -m 'not thorough and not real' $(ARGS)

test-rest: $(READY) ## what `make test` leaves out: other engines, simulations, whole grids
	@$(PYTEST) -m thorough $(ARGS)

test-real: $(READY) ## real containers, gs://, Flink, Spark, OpenVINO, a browser; as root on Debian, which gets docker.io
	@$(PYTEST) -m real $(ARGS)

test-all: $(READY) ## every test
	@$(PYTEST) $(ARGS)

check: lint test ## lint and test: what a change has to pass

lint: $(READY) ## style, formatting, types, import layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

bench: $(READY) ## how fast students are trained: bench/throughput.json, docs/benchmarks.md
	$(BIN)/python bench/throughput.py $(ARGS)

bench-pipeline: $(READY) ## a whole run beside a stock TFX pipeline: bench/pipeline.json
	$(BIN)/python -P bench/pipeline.py $(ARGS)

bench-data: $(READY) ## the data nodes beside TFX's own, a tenth and all: bench/data.json
	$(BIN)/python -P bench/data.py $(ARGS)

bench-workers: $(READY) ## the data nodes by one worker and by two: bench/workers.json, docs/beam.md
	$(BIN)/python -m bench.workers $(ARGS)

bench-unlabeled: $(READY) ## what unlabeled examples bring: bench/unlabeled.json, docs/benchmarks.md
	$(BIN)/python bench/unlabeled.py $(ARGS)

bench-search: $(READY) ## what a search of 20 candidates costs: bench/search.json, docs/search.md
	$(BIN)/python -m bench.search $(ARGS)

bench-gpu: $(READY) ## how fast a GPU distills, in how much memory: bench/gpu.json, docs/benchmarks.md
	$(BIN)/python bench/gpu.py $(ARGS)

recipes: $(READY) ## which way of training wins on seven data sets: bench/recipes.json, docs/benchmarks.md
	$(BIN)/python bench/recipes.py $(ARGS)

latency: $(READY) ## whether two runs agree on a speed-up, one core busy: bench/latency.json
	$(BIN)/python bench/latency.py $(ARGS)

chaos: $(READY) ## kills runs at random moments, fills disks: ARGS='--kills 30 --write', docs/reliability.md
	$(BIN)/python -m bench.chaos $(ARGS)

study: $(READY) ## whether distillation pays, in 36 cells: bench/study.json; ARGS='--cells digits' or --quick
	$(BIN)/python -m bench.study $(ARGS)

# It needs Docker or Podman and no environment.
image: ## the container image; IMAGE=registry/project/name VARIANT=cuda ARGS='--build-arg …'
	@tools/image.sh '$(IMAGE)' '$(VARIANT)' $(ARGS)

# The locks there are keep their versions; LOCK_FLAGS=--upgrade takes the newest ones.
lock: $(READY) ## requirements.lock from requirements.in and overrides.txt, then those that it constrains
	UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile --quiet --universal \
	    --python-version 3.11 --override overrides.txt --generate-hashes --no-emit-index-url \
	    $(LOCK_FLAGS) --output-file requirements.lock requirements.in
	UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile --quiet --universal \
	    --python-version 3.11 --constraint requirements.lock --generate-hashes \
	    --no-emit-index-url $(LOCK_FLAGS) --output-file requirements-cuda.lock requirements-cuda.in
	UV_CUSTOM_COMPILE_COMMAND='make lock' $(BIN)/uv pip compile --quiet --universal \
	    --python-version 3.11 --constraint requirements.lock --no-emit-package numpy \
	    --generate-hashes --no-emit-index-url $(LOCK_FLAGS) \
	    --output-file tests/serving/requirements.lock tests/serving/requirements.in

clean: ## caches and build output; runs/ and .venv stay
	rm -rf build dist *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find tfx_distill pipeline components modules tests tools -name __pycache__ -prune -exec rm -rf {} +

# The old stamp goes first: what fails midway is done again.
$(READY): $(BIN)/python
	@rm -f .venv/.ready-*
	@tools/setup.sh $(if $(PYTHON),'$(PYTHON)')
	@touch $@

# A missing interpreter, or a link to one that is gone, makes the stamp out of date.
$(BIN)/python: ;

ifeq ($(origin PYTHON),command line)
$(READY): FORCE
endif
