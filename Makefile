# Two commands do all the set-up on a fresh machine: `make quickstart` and `make test`.
# They need Python 3.11 or newer (with its venv module), make and g++; everything else goes into .env/, which is built
# anew whenever a pinned requirement changes.

PYTHON ?= python3
ENV := .env
BIN := $(ENV)/bin
PINS := $(shell cat requirements/core.txt requirements/dev.txt requirements/benchmarks.txt pyproject.toml | sha256sum | cut -c1-12)
CORE := $(ENV)/.core-$(PINS)
DEV := $(ENV)/.dev-$(PINS)
PIP := $(BIN)/pip --quiet --disable-pip-version-check

.PHONY: help quickstart test check lint types contracts env format notebooks readme benchmarks benchmark-mxnet clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /: /' | awk -F': ' '{printf "  %-16s %s\n", $$1, $$2}'

quickstart: $(CORE)  ## set up, measure one server and two workers against one machine, print why it is slower
	$(BIN)/breakdown env create mxnet
	$(BIN)/breakdown env create tensorflow
	$(BIN)/breakdown run experiments/quickstart.yaml --fresh

test: $(DEV)  ## set up and run all tests
	$(BIN)/breakdown env create mxnet
	$(BIN)/breakdown env create tensorflow
	$(BIN)/python -m pytest

check: lint types contracts  ## ruff, mypy --strict and the import contracts

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(DEV)
	$(BIN)/mypy

contracts: $(DEV)
	$(BIN)/lint-imports

format: $(DEV)  ## rewrite the sources in the project's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

notebooks: $(DEV)  ## run the notebooks, keep what a reader should see
	$(BIN)/jupytext --sync notebooks/*.py
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace notebooks/*.ipynb

env: $(DEV)  ## only set up

$(CORE):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "breakdown needs Python 3.11 or newer; this is $$($(PYTHON) --version 2>&1). Name one: make PYTHON=python3.11"; exit 1; }
	@echo "Setting up $(ENV) (once; about a minute)"
	@rm -rf $(ENV)
	@$(PYTHON) -m venv $(ENV) || { echo "No venv module: on Debian, apt-get install python3-venv"; exit 1; }
	@$(PIP) install -r requirements/core.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

$(DEV): $(CORE)
	@echo "Adding what tests and notebooks need"
	@$(PIP) install -r requirements/dev.txt
	@touch $@

MXNET_PYTHON := $(or $(BREAKDOWN_ENVS),$(ENV)/envs)/mxnet/bin/python

readme: $(DEV)  ## write the measured blocks of the README anew from results/
	$(BIN)/python docs/readme.py

benchmarks: $(DEV)  ## measure every claim that stands in results/benchmarks (about 35 minutes, on a quiet machine)
	@$(PIP) install -r requirements/benchmarks.txt
	$(BIN)/breakdown env create mxnet
	$(BIN)/breakdown env create tensorflow
	-$(BIN)/python benchmarks/recorder.py
	-$(BIN)/python benchmarks/recording_overhead.py
	-$(BIN)/python benchmarks/mxnet_overhead.py
	-$(BIN)/python benchmarks/tensorflow_overhead.py
	-$(BIN)/python benchmarks/tensorflow_scripts.py
	-$(BIN)/python benchmarks/transport.py
	-$(BIN)/python benchmarks/ps_rounds.py --mxnet-python $(MXNET_PYTHON)
	-$(BIN)/python benchmarks/analysis.py
	-$(BIN)/python benchmarks/importing.py
	-$(BIN)/python benchmarks/planning.py
	-$(BIN)/python benchmarks/reporting.py

clean:  ## remove the environments
	rm -rf .env
