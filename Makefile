# Everything a developer does more than once. `make test` from a fresh clone needs nothing but Python >= 3.10.
#   make PYTHON=python3.12 test     another interpreter (for a new environment)
#   make PYTEST_ARGS='-k moments' test
PYTHON ?= python3
VENV ?= .venv
WORKERS ?= 2
PYTEST_ARGS ?=

BIN := $(VENV)/bin
PY := $(BIN)/python
INSTALLED := $(VENV)/.installed
LINT_INSTALLED := $(VENV)/.installed-lint
PACKAGING := setup.cfg pyproject.toml constraints.txt

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint format bench clean distclean

help:  ## show this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

install: $(INSTALLED)  ## make the environment in .venv (done by the other targets as needed)

$(INSTALLED): $(PACKAGING)
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet -c constraints.txt -e '.[test]'
	@touch $@

$(LINT_INSTALLED): $(INSTALLED)
	$(PY) -m pip install --quiet -c constraints.txt -e '.[test,lint]'
	@touch $@

demo: $(INSTALLED)  ## the main job, end to end: table on screen, pictures in demo_output/
	$(BIN)/deepspin demo

# One thread per worker: torch would otherwise start as many threads as cores in every one of them.
test test-all: export OMP_NUM_THREADS = 1

test: $(INSTALLED)  ## all tests but the slow ones
	$(PY) -m pytest -m "not slow" -n $(WORKERS) $(PYTEST_ARGS)

test-all: $(INSTALLED)  ## all tests
	$(PY) -m pytest -n $(WORKERS) $(PYTEST_ARGS)

lint: $(LINT_INSTALLED)  ## style, types and spelling
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell

format: $(LINT_INSTALLED)  ## let ruff repair what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED)  ## all benchmarks; each prints a table
	@for script in $(sort $(wildcard benchmarks/bench_*.py)); do echo "== $$script"; $(PY) $$script || exit 1; done

clean:  ## remove what tests, builds and the demo leave behind
	rm -rf build dist demo_output tutorial_output .pytest_cache .ruff_cache .mypy_cache
	find deepspin_ase plugins tests tutorials benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +

distclean: clean  ## the environment as well
	rm -rf $(VENV) *.egg-info
