# make demo | test | check: each sets up .venv first, once for a given pyproject and constraints.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Processes of `make test`, a core each.
WORKERS ?= 2

.PHONY: setup demo test check format real-data benchmark sanitize clean
.DEFAULT_GOAL := setup

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: setup
	$(BIN)/genomamba demo --output demo

test: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/pyright
	$(BIN)/python -m pytest tests/packaging -m packaging

# GENOMAMBA_REAL_DATA=FOLDER make real-data: the runs of docs/real-data.md, half an hour.
real-data: setup
	PYTHON=$(BIN)/python GENOMAMBA=$(BIN)/genomamba docs/real-data/run.sh mito runs/real/mito
	PYTHON=$(BIN)/python GENOMAMBA=$(BIN)/genomamba docs/real-data/run.sh chr1 runs/real/chr1

# The tables of the README: minutes, on an idle machine.
benchmark: setup
	$(BIN)/python data_prep/benchmarks/encode.py
	$(BIN)/python data_prep/benchmarks/windows.py
	$(BIN)/python data_prep/benchmarks/simulate.py
	$(BIN)/python kernels/benchmarks/cpu_scan.py

# On a machine with a GPU that does nothing else. Run plainly first, so that no compiler
# runs under the tools, and by one process under them, whose exit code is theirs. There every
# allocation is its own, so that memcheck sees its end.
SANITIZED := $(addprefix tests/kernels/test_, operator_suite.py selective_scan_triton.py \
    causal_conv1d_triton.py mamba_inner.py mamba_block.py mamba_step.py attention_step.py rms_norm.py \
    next_token_loss.py)
sanitize: export GENOMAMBA_SMALL_TESTS = 1
sanitize: setup
	$(BIN)/python -m pytest -q -n $(WORKERS) $(SANITIZED)
	for tool in memcheck racecheck; do \
	    PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool $$tool --error-exitcode 9 \
	    $(BIN)/python -m pytest -q $(SANITIZED) || exit 1; \
	done

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist demo *.egg-info
