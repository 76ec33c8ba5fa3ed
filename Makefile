# make demo | make test | make test-cluster | make ui: each sets up what it needs on a machine with python3 and make.
# TORCH_INDEX=URL takes torch and torchvision from another package index, for CPU-only wheels.

PYTHON ?= python3
BIN := .venv/bin
RUN := runs/digits
UV := $(BIN)/uv pip install --python $(BIN)/python --constraint constraints.txt

.PHONY: demo ui test test-cluster clean
.DELETE_ON_ERROR:

demo: .venv/runtime.stamp
	$(BIN)/tinytl sweep digits --out $(RUN) $(if $(wildcard $(RUN)/sweep.yaml),--resume)
	@echo "to open it in a browser: make ui"

ui: .venv/runtime.stamp
	$(BIN)/tinytl ui $(RUN)

test: .venv/development.stamp .venv/browser.stamp
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations 20 -m "not cluster"

# what starts Ray: minutes each, one after another
test-cluster: .venv/development.stamp
	$(BIN)/python -m pytest -m cluster --durations 20

clean:
	rm -rf .venv

.venv/bin/uv:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv

.venv/runtime.stamp: .venv/bin/uv pyproject.toml constraints.txt
	$(if $(TORCH_INDEX),$(UV) --index-url $(TORCH_INDEX) torch torchvision)
	$(UV) --editable .
	@touch $@

# Debian's Chromium, for the browser tests: installed by who may, and else they say that they are skipped
.venv/browser.stamp: .venv/development.stamp
	@command -v chromium google-chrome > /dev/null || ! command -v apt-get > /dev/null || [ "$$(id -u)" != 0 ] \
		|| { apt-get update -qq && apt-get install -qq --no-install-recommends chromium fonts-dejavu-core > /dev/null; } || true
	@command -v chromium google-chrome > /dev/null || echo "there is no Chromium: the browser tests are skipped"
	@touch $@

.venv/development.stamp: .venv/runtime.stamp
	$(UV) --editable . --group dev
	@touch $@
