PYTHON ?= python3.11
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := $(shell find pcpad tasks datamodules commands configs cli.py pyproject.toml -type f -not -path '*/__pycache__/*' 2>/dev/null)

# One thread a process, since a test's tensors are small: together they use the cores. A file's tests share fixtures.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile

.PHONY: demo test test-all test-faults test-interop test-heif test-hub test-ray test-slurm docs clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# An ordinary (not editable) install: the tests then prove the wheel too.
$(VENV)/.installed: $(SOURCES) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check ".[test]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps .
	touch $@

# Digits and drawn streets under partial and zero padding; ends with tables and pictures.
demo: $(VENV)/.installed
	$(BIN)/python benchmarks/demo.py demo

# mypy from elsewhere: here it would see the checkout's pcpad/ alone, without tasks, datamodules and commands.
test: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	cd $(BIN) && ./mypy -p pcpad --config-file "$(CURDIR)/pyproject.toml"
	$(PYTEST) -m "not slow and not gpu"

test-all: $(VENV)/.installed
	$(PYTEST)

# Everything that must not go wrong in silence, lose work or let others in, slow tests included.
test-faults: $(VENV)/.installed
	$(PYTEST) --dist worksteal -m "faults and not gpu"

# What is heavy, and only these tests need, is not part of the extra `test`. A test that is skipped fails here.
test-interop: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check ".[interop]"
	$(BIN)/pytest tests/pcpad/test_other_layers*.py -m interop --no-skips

test-heif: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check ".[heif]"
	$(BIN)/pytest tests/pcpad/test_formats.py -m heif --no-skips

test-hub: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check ".[hub]"
	$(BIN)/pytest tests/pcpad/models/test_pretrained_hub.py -m hub --no-skips

test-ray: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check ".[ray]"
	$(BIN)/pytest tests/commands/comparison/test_on_ray.py -m ray --no-skips

test-slurm: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check ".[slurm]"
	$(BIN)/pytest tests/commands/comparison/test_on_slurm.py -m slurm --no-skips

# Pages with the reference, every link and anchor followed; then what the pages show is run, some steps of each training.
docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check ".[docs]"
	$(BIN)/python docs/draw.py build/pictures
	$(BIN)/python docs/build_site.py
	$(BIN)/python docs/run_blocks.py

clean:
	rm -rf $(VENV) build dist demo
