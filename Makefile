# Two commands set everything up: `make demo` and `make test`. Both begin with `make setup`, which installs once into .venv.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
# The folders under their import names, for mypy and editors, which do not follow an editable install.
LINKED := .venv/src/clipmill
DEMO ?= demo
MINUTES ?= 3

.PHONY: setup demo check test lint types tests-fast tests-all bench clean

setup: $(INSTALLED)

$(INSTALLED): pyproject.toml setup.py constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing into .venv (torch carries CUDA: about 5 GB, a few minutes the first time)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	$(BIN)/python -m pip check
	@rm -rf $(LINKED) && mkdir -p $(LINKED) && ln -s ../../../curate ../../../evaluate ../../../models ../../../clipmill/__init__.py ../../../clipmill/py.typed $(LINKED)
	@touch $@

# The whole story in minutes on two cores. Every step is a command to repeat on your own data, and goes on where it stopped.
demo: setup
	test -f $(DEMO)/videos/truth.parquet || $(BIN)/curate demo $(DEMO)/videos --minutes $(MINUTES)
	$(BIN)/curate run $(DEMO)/videos --out $(DEMO)/run
	$(BIN)/models train $(DEMO)/run --config demo --out $(DEMO)/checkpoint
	$(BIN)/models sample $(DEMO)/checkpoint --n 64 --out $(DEMO)/samples
	test -d $(DEMO)/floor || $(BIN)/models floor $(DEMO)/checkpoint --out $(DEMO)/floor
	rm -f $(DEMO)/scores.parquet
	for set in samples floor/latents floor/held-out; do test ! -d $(DEMO)/$$set || \
	  $(BIN)/evaluate run $(DEMO)/floor/trained.npy $(DEMO)/$$set --features mini --metrics fvd,dynamic-degree,nearest \
	  --set clip_frames=8 --real-set stored_fps=8 --out $(DEMO)/scores.parquet || exit; done
	$(BIN)/evaluate report $(DEMO)/scores.parquet --out $(DEMO)/index.html

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup
	$(BIN)/mypy

# Processes of one thread each: threads of two processes would wait for each other. Half as many more as cores that this process
# may use, since tests of commands wait for processes of their own.
PROCESSES = $$($(BIN)/python -c "import os; print(len(os.sched_getaffinity(0)) * 3 // 2)")
TESTS = OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(PROCESSES) --maxprocesses 8 --dist worksteal

tests-fast: setup
	$(TESTS) -m "not slow" --durations=5

tests-all: setup
	$(TESTS) --durations=20

# For every save: three minutes on two cores. Types and tests beside each other.
check: lint
	@$(MAKE) --no-print-directory -j2 types tests-fast

# Everything, as CI runs it.
test: lint
	@$(MAKE) --no-print-directory -j2 types tests-all

bench: setup
	$(BIN)/python benchmarks/tables.py

clean:
	rm -rf .venv $(DEMO)
