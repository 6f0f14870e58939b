# make quickstart   set up, then run the quickstart sweep to the end
# make test         set up, then run every check and test
# make test-faults  set up, then every fault and 100,000 fuzzed cases, which takes an hour or two
# make bench        set up, then measure what benchmarks/RESULTS.md holds; nothing beside it, please
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: quickstart test test-faults bench check setup clean

quickstart: setup
	$(BIN)/mlfd-tune run experiments/quickstart.yaml

test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadgroup

test-faults: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 3 --dist loadgroup --whole-matrix tests/faults tests/fuzz

bench: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks

check: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/bandit --quiet --recursive mlfd_tune --configfile pyproject.toml
	$(BIN)/python .ci/audit

setup: $(READY)

# Installs again only when what is to be installed changed.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) build *.egg-info
