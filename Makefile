# Two commands do all the set-up: `make demo` and `make test`. Both work without root.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := constraints.txt

.DEFAULT_GOAL := help
.PHONY: help demo test fuzz crashpoints bench check format clean

help:  ## Say what can be made
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 13

demo: $(VENV)/.demo  ## Close the loop in a small fleet, step by step (about three minutes)
	$(BIN)/edgeops demo $(ARGS)

test: $(VENV)/.test  ## Run the checks, then the suite
	scripts/check
	$(BIN)/python -m pytest $(ARGS)

MINUTES ?= 10
FUZZ = --minutes $(MINUTES) $(if $(TARGET),--target $(TARGET)) $(if $(SEED),--seed $(SEED)) \
  $(if $(COUNT),--count $(COUNT)) $(if $(FILE),--file $(FILE))

fuzz: $(VENV)/.test  ## Give spoiled inputs to every parser for MINUTES=10, or TARGET= SEED= COUNT=
	$(BIN)/python -m tests.fuzz $(FUZZ)

CRASHPOINTS = $(if $(ONLY),--only $(ONLY)) $(if $(SEED),--seed $(SEED))

crashpoints: $(VENV)/.test  ## Kill or refuse each system call of an install, or ONLY=update:17:kill SEED=
	$(BIN)/python -m tests.crashpoints $(CRASHPOINTS)

bench: $(VENV)/.test  ## Run a benchmark: make bench NAME=packaging ARGS='--models FOLDER'
	@test -f 'benchmarks/$(NAME).py' \
	  || { echo 'which one? make bench NAME=one of:' \
	       $(filter-out __init__,$(basename $(notdir $(wildcard benchmarks/*.py)))); exit 2; }
	$(BIN)/python -m benchmarks.$(NAME) $(ARGS)

check: $(VENV)/.test  ## Run the checks alone: format, lint, types, imports
	scripts/check

format: $(VENV)/.test  ## Format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## Remove the virtual environment and what tools left behind
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .fuzz

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo 'edgeops needs Python 3.11 or newer: make PYTHON=python3.12 …'; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

# Without Mosquitto everything still works, on the development broker iotcore.
$(VENV)/.broker: $(VENV)/.python scripts/fetch_mosquitto scripts/debian_program.sh
	scripts/fetch_mosquitto $(VENV)/mosquitto || test $$? -eq 3
	touch $@

# Without strace the tests that need it are skipped.
$(VENV)/.strace: $(VENV)/.python scripts/fetch_strace scripts/debian_program.sh
	scripts/fetch_strace $(VENV)/strace || test $$? -eq 3
	touch $@

$(VENV)/.demo: $(VENV)/.broker pyproject.toml device_agent/pyproject.toml $(CONSTRAINTS)
	$(BIN)/python -m pip install -q -c $(CONSTRAINTS) -e ./device_agent -e '.[demo,tensorflow]' \
	  || { echo 'TensorFlow cannot be had here: the demo will run without it (--quick)'; \
	       $(BIN)/python -m pip install -q -c $(CONSTRAINTS) -e ./device_agent -e '.[demo]'; }
	touch $@

$(VENV)/.test: $(VENV)/.broker $(VENV)/.strace pyproject.toml device_agent/pyproject.toml $(CONSTRAINTS)
	$(BIN)/python -m pip install -q -c $(CONSTRAINTS) -e ./device_agent -e '.[test]'
	touch $@
