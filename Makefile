# Banyan: `make demo` and `make test` need nothing but Python 3.11, pip and make.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready
ROOMS  := aggregation node protocol security simulations

.PHONY: help install demo test lint format bench bench-aggregation bench-simulation clean

help:                 ## show this list
	@grep -E '^[a-z-]+: .*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 22

install: $(READY)     ## create the virtual environment and install Banyan into it

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(READY)        ## a network of real processes learns together and shuts an attacker out
	$(BIN)/banyan demo

test: $(READY)        ## run every test, on every core
	$(BIN)/python -m pytest -q --numprocesses auto --dist loadfile

# mypy and IDEs see the rooms under their import name through links.
build/types/banyan:
	@mkdir -p $@
	@for room in $(ROOMS); do ln -sfn ../../../$$room $@/$$room; done

lint: $(READY) build/types/banyan   ## style, types and the direction of imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -p banyan.security -p banyan.aggregation -p banyan.protocol -p banyan.simulations
	$(BIN)/lint-imports

format: $(READY)      ## rewrite the code in the house style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.bench ## slow proofs; results go to benchmarks/results/
	$(BIN)/python -m benchmarks

bench-aggregation: $(VENV)/.bench   ## every aggregation rule against ByzFL and Flower
	$(BIN)/python -m benchmarks aggregation

bench-simulation: $(VENV)/.bench    ## a thousand seeds, ten thousand nodes, Flower's simulation, others' settings
	$(BIN)/python -m benchmarks simulation-seeds simulation-scale simulation-flower simulation-proof

# ByzFL asks for another torch than ours, so it comes without what it asks for.
$(VENV)/.bench: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps byzfl==0.0.11
	@touch $@

clean:                ## remove what the build made
	rm -rf build $(VENV) *.egg-info
