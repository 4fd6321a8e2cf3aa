# Two commands set everything up: `make demo` and `make test`. Both begin with `make setup`, which installs once into .venv.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
DEMO ?= demo
MINUTES ?= 3

.PHONY: setup demo test lint bench clean

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (torch carries CUDA: about 5 GB, a few minutes the first time)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	$(BIN)/python -m pip check
	@touch $@

demo: setup
	$(BIN)/curate demo $(DEMO)/videos --minutes $(MINUTES)
	$(BIN)/curate run $(DEMO)/videos --out $(DEMO)/run

lint: setup
	$(BIN)/ruff check .
	$(BIN)/mypy

# One process per core, each with one thread: threads of two processes would wait for each other.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile

bench: setup
	$(BIN)/python benchmarks/tables.py

clean:
	rm -rf .venv $(DEMO)
