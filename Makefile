# Every target creates the environment in .venv first if need be. `make help` lists them.
PYTHON ?= python3
VENV   ?= .venv
PEERS  := .venv-peers
OUT    ?= datasets
DATA   ?= data
ARGS   ?=
UV     := uv==0.13.9

# A process that may not keep byte-code compiles scikit-learn and Ray afresh each time: seconds.
unexport PYTHONDONTWRITEBYTECODE

BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help env shards cifar10 test lint format bench peers lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(READY) ## create the environment in .venv with the locked versions
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v < (3, 14) else "Dreamshards needs Python 3.10 to 3.13, $(PYTHON) is %d.%d; set PYTHON=python3.11, say" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

shards: $(READY) ## build the embedded default (digits) into datasets/digits
	$(BIN)/dreamshards build digits --out $(OUT)/digits $(ARGS)

cifar10: $(READY) ## build CIFAR-10 into datasets/cifar10; downloads it into data/ when absent
	$(BIN)/dreamshards build cifar10 --set source.path=$(DATA) source.download=true --out $(OUT)/cifar10 $(ARGS)

test: $(READY) ## run the tests
	$(BIN)/python -m pytest -n auto --dist loadgroup $(ARGS)

lint: $(READY) ## check format, style and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(READY) ## rewrite the code in the house format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY) ## measure rendering, streaming and Ray beside others, in one table
	$(BIN)/python -m tests.bench $(ARGS)

peers: $(PEERS)/.ready ## create .venv-peers (6 GB): the readers that bench compares with
	@sh tests/bench/install_ffcv.sh $(BIN)/uv $(PEERS)/bin/python

$(PEERS)/.ready: tests/bench/peers.lock | $(READY)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(PEERS)
	$(BIN)/uv pip install --quiet --python $(PEERS)/bin/python -r tests/bench/peers.lock
	@touch $@

lock: $(READY) ## resolve requirements.lock afresh
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --all-extras --upgrade --no-header --no-annotate pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --upgrade --no-header --no-annotate tests/bench/peers.in -o tests/bench/peers.lock

clean: ## remove the environment and caches; keeps datasets/ and data/
	rm -rf $(VENV) $(PEERS) build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find pipeline training evaluation tests -name __pycache__ -type d -prune -exec rm -rf {} +
