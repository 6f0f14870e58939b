# make quickstart   set up, then run the quickstart sweep to the end
# make test         set up, then run every check and test
# make bench        set up, then measure what benchmarks/RESULTS.md holds; nothing beside it, please
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed

.PHONY: quickstart test bench check setup clean

quickstart: setup
	$(BIN)/mlfd-tune run experiments/quickstart.yaml

test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadgroup

bench: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks

check: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

setup: $(READY)

# Installs again only when what is to be installed changed.
$(READY): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $(READY)

clean:
	rm -rf $(VENV) build *.egg-info
