# Two commands matter: `make demo` and `make test`. Both set up .venv themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# With the versions that the project is tested with, where there is a lock for this version of Python.
INSTALL := requirements/install $(BIN)/python
# Files in the order in which tests/conftest.py puts them: the long ones first.
PYTEST_ARGS ?= -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo test lint docs bench chaos lock audit clean help

help:
	@echo "make demo   recognise real clips with the shipped recogniser"
	@echo "make test   run the tests"
	@echo "make lint   ruff, mypy --strict, import contracts"
	@echo "make docs   the manual, into site/index.html"
	@echo "make audit  known weaknesses of the locked versions, where a database can be asked"
	@echo "make bench  speed as ratios to the usual libraries"
	@echo "make chaos  ten minutes of everything going wrong at once, then an audit"

$(VENV)/core: pyproject.toml
	@echo "Setting up $(VENV): about a minute, and 300 MB ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(INSTALL) --editable .
	@touch $@

$(VENV)/dev: pyproject.toml $(VENV)/core
	@echo "Installing what the tests need (torch, scikit-learn, plotly, librosa): a few minutes ..."
	@$(INSTALL) torch
	@$(INSTALL) --editable ".[dev]"
	@touch $@

$(VENV)/docs: pyproject.toml $(VENV)/core
	@echo "Installing what builds the manual: a minute ..."
	@$(INSTALL) --editable ".[docs]"
	@touch $@

demo: $(VENV)/core
	@$(BIN)/genrescope demo

# Processes side by side, each with one thread: threads of several wait for each other, busily.
test: $(VENV)/dev
	OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/dev
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "The manual is in site/index.html"

bench: $(VENV)/dev
	$(BIN)/python -m benchmarks

# Real clips where they are, made-up ones otherwise; CHAOS_ARGS takes other options.
CHAOS_CLIPS ?= $(wildcard $(or $(GENRESCOPE_DATA),../shared/data)/audio/fma_clips)
CHAOS_ARGS ?= --minutes 10

chaos: $(VENV)/dev
	$(BIN)/python -m benchmarks.chaos $(CHAOS_CLIPS) $(CHAOS_ARGS)

# The versions that are installed here become the lock: after `make test` has passed with newer ones.
lock: $(VENV)/dev $(VENV)/docs
	$(BIN)/python requirements/lock.py

audit: $(VENV)/core
	requirements/audit $(BIN)/python

clean:
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
