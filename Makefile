# Two commands are complete by themselves: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.filled

# Workers that wait for each other actively starve each other; must be set before torch is imported.
export OMP_WAIT_POLICY ?= passive

.PHONY: setup demo test test-all faults fuzz docs lint types floors clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "dimlift needs Python 3.11 or newer, and $(PYTHON) is " + sys.version.split()[0] + "; name another: make $(MAKECMDGOALS) PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $(STAMP)

demo: setup
	$(BIN)/dimlift demo

# Two test processes, one thread each.
test test-all: export OMP_NUM_THREADS ?= 1

test: setup
	$(BIN)/python -m pytest -n 2 -m 'not slow'

test-all: setup
	$(BIN)/python -m pytest -n 2

# Kills, damaged checkpoints, full disks, limited memory: the whole suite, one test after the other.
faults: export OMP_NUM_THREADS ?= 1
faults: setup
	$(BIN)/python -m pytest tests/faults

# Coverage-guided fuzzing of every reader of foreign files, for this many seconds in all, or with RUNS inputs for each.
SECONDS ?= 600
fuzz: setup
	$(BIN)/python tests/hostile/fuzz.py $(if $(RUNS),--runs $(RUNS),$(SECONDS))

# The site, its notebooks executed; a link that leads nowhere or a cell that fails ends it.
docs: export OMP_NUM_THREADS ?= 1
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir site

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

floors: setup
	$(BIN)/lint-imports --no-cache

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache site
