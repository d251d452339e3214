# Every target sets up what it needs; `make help` lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready

# One thread a process: two threads each collapse on a busy machine.
export OMP_NUM_THREADS := 1

# Fleets that `make bench` plans for.
CHIPS ?= 1000 10000

.PHONY: help setup run test test-all check lint docs bench bench-large clean
.DEFAULT_GOAL := help

help: ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

setup: $(STAMP) ## Make the virtual environment and install efat with its tools

# torch first and alone: its builds without CUDA are the ones that the constraints name, and a
# resolver left to itself takes gigabytes of CUDA packages on some platforms.
$(STAMP): pyproject.toml constraints.txt
	@echo "Setting up $(VENV), once; it takes some minutes, most of them for torch."
	@echo "1 of 3: a virtual environment"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --upgrade pip
	@echo "2 of 3: torch, the largest download"
	@$(BIN)/python -m pip install --quiet -c constraints.txt torch
	@echo "3 of 3: efat, its other packages and tools"
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev]"
	@touch $@
	@echo "Ready. For commands of your own: source $(BIN)/activate"

run: setup ## The main job: +experiment=resnet_fat (pass more with ARGS="...")
	$(BIN)/python -m efat.run +experiment=resnet_fat $(ARGS)

test: setup ## Run the tests
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

test-all: setup ## Run the tests, and the slow ones: campaigns killed again and again
	@echo "Installing Ray, submitit and other extras: minutes, once"
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[dev,ray,slurm,data]" hydra-joblib-launcher
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m ""

lint: setup ## Format check, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint test ## What must pass before a commit: lint, types, tests

docs: setup ## Build the documentation site in build/site; a warning is an error
	@echo "Installing the site's packages"
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[docs]"
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: setup ## Measure speed, all parts or PART="repair ..." (CHIPS="1000 10000": fleets to plan)
	$(BIN)/python -m experiments.bench $(PART) --chips $(CHIPS)

bench-large: setup ## Plan for 100,000 chips: many minutes, up to 8 GB
	$(BIN)/python -m experiments.bench planning --chips 10000 100000

clean: ## Remove the environment and caches; results under outputs/ stay
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
