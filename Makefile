# make demo   train O2F on drawn shapes, evaluate it with and without NMS, print the table (minutes on a CPU)
# make test   the whole test suite
# make lint   ruff and mypy
# make bench  every benchmark small: names the ratios that fell by more than a fifth; bench-store stores them anew
# Each creates .venv first if it is not there: with uv where it is installed, else with python's venv and pip.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/installed

.PHONY: demo test lint bench bench-store clean

demo: $(STAMP)
	$(BIN)/python train.py assigner=o2f logger=none

test: $(STAMP)
	$(BIN)/pytest -n auto --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -m benchmarks.guard

bench-store: $(STAMP)
	$(BIN)/python -m benchmarks.guard store=true

$(STAMP): requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name it with: make PYTHON=python3.12"; exit 1; }
	@if command -v uv >/dev/null; then \
		uv venv --quiet --allow-existing --python $(PYTHON) .venv && \
		uv pip install --quiet --python $(BIN)/python -r requirements.txt; \
	else \
		$(PYTHON) -m venv .venv && $(BIN)/python -m pip install --quiet -r requirements.txt; \
	fi
	@touch $@

clean:
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis
