# Two commands matter: `make demo` and `make test`. Both set up .venv themselves.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PYTEST_ARGS ?= -n 2 --dist loadfile

.PHONY: demo test lint docs bench chaos clean help

help:
	@echo "make demo   recognise real clips with the shipped recogniser"
	@echo "make test   run the tests"
	@echo "make lint   ruff, mypy --strict, import contracts"
	@echo "make docs   the manual, into site/index.html"
	@echo "make bench  speed as ratios to the usual libraries"
	@echo "make chaos  ten minutes of everything going wrong at once, then an audit"

$(VENV)/core: pyproject.toml
	@echo "Setting up $(VENV): about a minute, and 300 MB ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) install --quiet --editable .
	@touch $@

# torch first, at the version the project is tested with, so that no other package picks a larger build.
$(VENV)/dev: pyproject.toml $(VENV)/core
	@echo "Installing what the tests need (torch, scikit-learn, plotly, librosa): a few minutes ..."
	@$(PIP) install --quiet torch==2.13.0
	@$(PIP) install --quiet --editable ".[dev]"
	@touch $@

$(VENV)/docs: pyproject.toml $(VENV)/core
	@echo "Installing what builds the manual: a minute ..."
	@$(PIP) install --quiet --editable ".[docs]"
	@touch $@

demo: $(VENV)/core
	@$(BIN)/genrescope demo

test: $(VENV)/dev
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/dev
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "The manual is in site/index.html"

bench: $(VENV)/dev
	$(BIN)/python -m benchmarks

# Real clips where they are, made-up ones otherwise; CHAOS_ARGS takes other options.
CHAOS_CLIPS ?= $(wildcard $(or $(GENRESCOPE_DATA),../shared/data)/audio/fma_clips)
CHAOS_ARGS ?= --minutes 10

chaos: $(VENV)/dev
	$(BIN)/python -m benchmarks.chaos $(CHAOS_CLIPS) $(CHAOS_ARGS)

clean:
	rm -rf $(VENV) build dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
