# Two commands to begin with: `make demo` runs the whole pipeline on a simulated survey, `make test` checks the project (`make quick`: the checks for use all day).
SHELL := /bin/bash
PYTHON ?= $(notdir $(firstword $(foreach version,3.11 3.12 3.13,$(shell command -v python$(version))) python3.11))
VENV := .venv
DHS := $(VENV)/bin/dhs
# uv itself, by the hashes of the lock.
BOOTSTRAP = awk '/^uv==/ {on=1} on {print} on && !/\\$$/ {exit}' requirements.lock | $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r /dev/stdin
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH)
export VIRTUAL_ENV := $(CURDIR)/$(VENV)

.PHONY: help doctor setup setup-dev demo test quick quick-tests lint format ui emr-rehearsal bench deps lock clean

help: ## list the commands
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:[^#]*## /\t/' | expand -t 14

doctor: ## say what this machine lacks, if anything
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11, 3.12 or 3.13 is needed and '$(PYTHON)' was not found: install one (Debian: apt-get install python3.11; anywhere: pyenv install 3.11), or name it with make PYTHON=/path/to/python3" >&2; exit 1; }
	@$(PYTHON) pipeline/doctor.py

# MLflow's own commands, in a shell that has sourced .venv/bin/activate, use the runs of this checkout.
MLFLOW_HERE = @grep -q MLFLOW_TRACKING_URI $(VENV)/bin/activate || printf '%s\n' 'export MLFLOW_TRACKING_URI="sqlite:///$$(dirname "$$VIRTUAL_ENV")/data/mlflow/mlflow.db"' 'export MLFLOW_EXPERIMENT_NAME="mlflow run"' >> $(VENV)/bin/activate

VERSION = -c 'import sys; print(*sys.version_info[:2], sep=".")'
SAME_PYTHON = @test "$(origin PYTHON)" = file -o ! -x $(VENV)/bin/python || test "$$($(PYTHON) $(VERSION))" = "$$($(VENV)/bin/python $(VERSION))" \
	|| { echo "$(VENV) was made with Python $$($(VENV)/bin/python $(VERSION)): delete it (rm -rf $(VENV)) to use $(PYTHON)" >&2; exit 1; }

$(VENV)/.runtime: requirements.lock pyproject.toml | doctor
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@test -x $(VENV)/bin/uv || $(BOOTSTRAP)
	$(VENV)/bin/uv pip sync --quiet --compile-bytecode --require-hashes requirements.lock
	$(VENV)/bin/uv pip install --quiet --no-deps --no-build-isolation --editable .
	$(MLFLOW_HERE)
	@$(DHS) prepare
	@rm -f $(VENV)/.dev && touch $@

$(VENV)/.dev: requirements-dev.lock requirements.lock pyproject.toml | doctor
	@test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	@test -x $(VENV)/bin/uv || $(BOOTSTRAP)
	$(VENV)/bin/uv pip sync --quiet --compile-bytecode --require-hashes requirements-dev.lock
	$(VENV)/bin/uv pip install --quiet --no-deps --no-build-isolation --editable .
	$(MLFLOW_HERE)
	@$(DHS) prepare
	@touch $@ $(VENV)/.runtime

setup: ## make .venv with the locked packages, and compile
	$(SAME_PYTHON)
	@test -e $(VENV)/.runtime -a $(VENV)/.runtime -nt requirements.lock -a $(VENV)/.runtime -nt pyproject.toml || $(MAKE) --no-print-directory $(VENV)/.runtime

setup-dev: ## the same, with what the checks need
	$(SAME_PYTHON)
	@$(MAKE) --no-print-directory $(VENV)/.dev

demo: setup ## run the whole pipeline on the simulated demo survey
	@$(DHS) demo

# Tests of one file share a process. Compiled code is kept, also where the user's shell says not to.
PYTEST := PYTHONDONTWRITEBYTECODE= pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: lint ## the whole quality gate: formatter, linter, types, import contracts, tests
	$(PYTEST)

quick: setup-dev ## the gate without the tests that run a whole stage or command; for use all day
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target lint quick-tests

quick-tests:
	$(PYTEST) -m "not slow and not whole_stage"

lint: setup-dev ## formatter, linter, types, import contracts
	ruff format --check .
	ruff check .
	mypy
	lint-imports

format: setup-dev ## format the code
	ruff format .
	ruff check --fix .

ui: setup ## open MLflow on the runs of this checkout
	@$(DHS) ui

emr-rehearsal: setup-dev ## run every Spark stage as EMR would, against a simulated AWS (20 submissions of minutes each; after changes of etl/)
	pytest -m slow tests/etl/test_emr_rehearsal.py

bench: setup ## run the benchmarks (minutes, on an idle machine; after `make demo`)
	@for name in analysis batches cutouts exclusion gpu injection lake_tables negatives pool stamps threads training; do echo "== $$name"; $(VENV)/bin/python -m benchmarks.$$name || exit 1; done
	@echo "== etl"; $(VENV)/bin/python -m benchmarks.etl data/survey demo
	@echo "== completeness"; $(VENV)/bin/python -m benchmarks.completeness
	@echo "== queries"; $(VENV)/bin/python -m benchmarks.queries

deps: setup-dev ## write MLproject and the data-model page
	python -m pipeline.wiring
	python -m pipeline.datamodel

lock: setup-dev ## resolve the locked versions anew
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --upgrade pyproject.toml -o requirements.lock
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --constraint requirements.lock --extra dev pyproject.toml -o requirements-dev.lock

clean: ## remove what was built and computed, except the environment
	@test ! -x $(DHS) || $(DHS) server stop
	rm -rf data/lake data/work data/survey data/truth data/cutouts data/checkpoints data/grid data/report data/metrics data/plots data/baselines data/mlflow data/spark data/cards data/code data/listing data/.damaged .pytest_cache .mypy_cache .ruff_cache
