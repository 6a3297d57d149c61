# Every target creates the environment in .venv first if need be. `make help` lists them.
PYTHON ?= python3
VENV   ?= .venv
PEERS  := .venv-peers
SWIFT  := $(VENV)-swift
OUT    ?= datasets
RUNS   ?= runs
DATA   ?= data
ARGS   ?=
UV     := uv==0.13.9

# A process that may not keep byte-code compiles scikit-learn and Ray afresh each time: seconds.
unexport PYTHONDONTWRITEBYTECODE

BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest --dist loadgroup
BUILD := $(BIN)/dreamshards build
TRAIN := $(BIN)/dreamshards train
CIFAR10 := source.path=$(DATA) source.download=true

.DEFAULT_GOAL := help
.PHONY: help env shards cifar10 train train-cifar10-cpu train-cifar10 train-videos test test-all lint format servers soak bench peers lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

env: $(READY) ## create the environment in .venv with the locked versions
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 10) <= v < (3, 14) else "Dreamshards needs Python 3.10 to 3.13, $(PYTHON) is %d.%d; set PYTHON=python3.11, say" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(UV)
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	@touch $@

shards: $(READY) ## build the embedded default (digits) into datasets/digits
	$(BUILD) digits --out $(OUT)/digits $(ARGS)

cifar10: $(READY) ## build CIFAR-10 into datasets/cifar10; downloads it into data/ when absent
	$(BUILD) cifar10 --set $(CIFAR10) --out $(OUT)/cifar10 $(ARGS)

train: shards ## train a small network on the digits, a minute on two CPU cores
	$(BUILD) digits-test --out $(OUT)/digits-test
	$(TRAIN) digits --data $(OUT)/digits --test $(OUT)/digits-test --out $(RUNS)/digits $(ARGS)

train-cifar10-cpu: $(READY) ## WRN-16-2 on 10,000 pictures of CIFAR-10, 15 epochs each of clean and pixmix
	$(BUILD) cifar10-test --set $(CIFAR10) --out $(OUT)/cifar10-test
	$(BUILD) cifar10 --set $(CIFAR10) source.count=10000 epochs=15 augmentation.family=clean --out $(OUT)/cifar10-10k-clean
	$(BUILD) cifar10 --set $(CIFAR10) source.count=10000 epochs=15 --out $(OUT)/cifar10-10k
	$(TRAIN) cifar10-cpu --data $(OUT)/cifar10-10k-clean --test $(OUT)/cifar10-test --out $(RUNS)/cifar10-cpu-clean $(ARGS)
	$(TRAIN) cifar10-cpu --data $(OUT)/cifar10-10k --test $(OUT)/cifar10-test --out $(RUNS)/cifar10-cpu $(ARGS)

train-cifar10: $(READY) ## the paper's runs, for a GPU: WRN-40-4, 100 epochs each of clean and pixmix; 42 GB of shards
	$(BUILD) cifar10-test --set $(CIFAR10) --out $(OUT)/cifar10-test
	$(BUILD) cifar10 --set $(CIFAR10) epochs=100 augmentation.family=clean --out $(OUT)/cifar10-100-clean
	$(BUILD) cifar10 --set $(CIFAR10) epochs=100 --out $(OUT)/cifar10-100
	$(TRAIN) cifar10 --data $(OUT)/cifar10-100-clean --test $(OUT)/cifar10-test --out $(RUNS)/cifar10-clean $(ARGS)
	$(TRAIN) cifar10 --data $(OUT)/cifar10-100 --test $(OUT)/cifar10-test --out $(RUNS)/cifar10 $(ARGS)

train-videos: $(READY) ## the embedded videos four ways, clean, frame, single and zoom: trained, measured, compared
	for set in test c windows unknown; do $(BUILD) digit-videos-$$set --out $(OUT)/digit-videos-$$set || exit 1; done
	for law in gaussian rademacher blobs; do $(BUILD) anomalies-$$law --set source.frames=12 source.count=600 \
	  transform.kind=center-crop transform.size=32 --out $(OUT)/anomalies-$$law-videos || exit 1; done
	$(BUILD) digit-videos --set epochs=20 augmentation.family=clean --out $(OUT)/digit-videos-clean
	$(BUILD) digit-videos --set epochs=20 augmentation.picture=frame augmentation.draws=frame --out $(OUT)/digit-videos-frame
	$(BUILD) digit-videos --set epochs=20 --out $(OUT)/digit-videos-single
	$(BUILD) digit-videos --set epochs=20 augmentation.picture=zoom mixing_set.kind=zoom --out $(OUT)/digit-videos-zoom
	for mode in clean frame single zoom; do \
	  $(TRAIN) digit-videos --data $(OUT)/digit-videos-$$mode --test $(OUT)/digit-videos-test --out $(RUNS)/videos-$$mode --set epochs=20 $(ARGS) && \
	  $(BIN)/dreamshards evaluate $(RUNS)/videos-$$mode/last.pt --data $(OUT)/digit-videos-test $(OUT)/digit-videos-c $(OUT)/digit-videos-windows \
	    $(OUT)/digit-videos-unknown $(OUT)/anomalies-*-videos --pgd-samples 150 --out $(RUNS)/videos-$$mode/evaluation || exit 1; done
	$(BIN)/dreamshards compare $(RUNS)/videos-clean/evaluation $(RUNS)/videos-frame/evaluation $(RUNS)/videos-single/evaluation \
	  $(RUNS)/videos-zoom/evaluation --out $(RUNS)/videos-comparison

# One process more than there are cores: some tests mostly wait. Those of faults, in test-all, need room.
test: $(READY) ## run the tests, less those that take many seconds
	$(PYTEST) -n $$(( $$(getconf _NPROCESSORS_ONLN) + 1 )) -m "not slow" $(ARGS)

test-all: $(READY) ## run every test
	$(PYTEST) -n auto $(ARGS)

servers: $(READY) ## install the store servers that tests run: Ceph (Debian, as root) and OpenStack Swift
	@sh tests/servers/install.sh $(BIN)/uv $(BIN)/python $(SWIFT)

soak: servers ## kill what takes part in builds on Ray into Ceph, 200 times; ARGS="--kills 50 --seed 3 --store Swift"
	$(BIN)/python -m tests.soak $(ARGS)

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
	$(BIN)/uv pip compile --quiet --universal --python-version 3.10 --upgrade --no-header --no-annotate tests/servers/swift.in -o tests/servers/swift.lock

clean: ## remove the environment and caches; keeps datasets/, runs/ and data/
	rm -rf $(VENV) $(PEERS) $(SWIFT) build dist *.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
	find pipeline training evaluation tests -name __pycache__ -type d -prune -exec rm -rf {} +
