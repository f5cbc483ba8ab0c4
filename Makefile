# `make demo` and `make test` are all that a new machine needs: Python 3.11, make and access to the package index.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
OUT ?= demo
# The sets that `make results` measures on, in the layout that `atlassegfm evaluate` reads.
DATA ?= ../shared/data
# For example PIP_OPTIONS="--extra-index-url https://download.pytorch.org/whl/cpu", which spares Linux the CUDA libraries.
PIP_OPTIONS ?=

.PHONY: help demo test lint format results clean

help:
	@echo "make demo    install and run the demo on synthetic scans (results in $(OUT)/)"
	@echo "make test    install and run the tests"
	@echo "make lint    install and run ruff"
	@echo "make format  let ruff format the code"
	@echo "make results measure on the sets in $(DATA)/ (takes long) and write docs/results.md"
	@echo "make clean   remove the environment and what the tools left"

# The stamp is newer than what it depends on as long as nothing has to be installed again.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_OPTIONS) -c constraints.txt -e '.[dask,dev,greedy]'
	touch $@

demo: $(STAMP)
	$(BIN)/atlassegfm demo --out $(OUT)

test: $(STAMP)
	$(BIN)/python -m pytest $(PYTEST_OPTIONS)

lint: $(STAMP)
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check src tests benchmarks

format: $(STAMP)
	$(BIN)/ruff format src tests benchmarks

results: $(STAMP)
	$(BIN)/python benchmarks/results.py --data $(DATA) $(RESULTS_OPTIONS)

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis build src/*.egg-info
