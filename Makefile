# The first that runs and is new enough: version managers leave commands that only print an error.
PYTHON ?= $(or $(shell $(FIND_PYTHON)),$(error no Python 3.11 or later was found: make PYTHON=/path/to/python))
FIND_PYTHON = for each in python3.11 python3.12 python3.13 python3.14 python3; do \
	"$$each" -c "import sys; sys.exit(sys.version_info < (3, 11))" >/dev/null 2>&1 && echo "$$each" && break; done
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := $(shell find pcpad tasks datamodules commands configs cli.py pyproject.toml -type f -not -path '*/__pycache__/*' 2>/dev/null)

# One thread a process, since a test's tensors are small: together they use the cores. A file's tests share fixtures.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile

PIP := $(BIN)/python -m pip --disable-pip-version-check
# `make test PINNED=0` takes the newest versions that pyproject.toml allows, without hashes.
export PINNED ?= 1

.PHONY: demo test test-all test-faults test-interop test-heif test-hub test-ray test-slurm docs release-check requirements clean

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

# An ordinary (not editable) install: the tests then prove the wheel too. Versions and hashes are those of requirements/,
# which hold for Linux, macOS and Windows; where they cannot be had, .ci/install.py says so and takes others.
$(VENV)/.installed: $(SOURCES) requirements/test.txt | $(BIN)/python
	$(BIN)/python .ci/install.py test
	touch $@ $(VENV)/.demo

$(VENV)/.demo: $(SOURCES) requirements/demo.txt | $(BIN)/python
	$(BIN)/python .ci/install.py demo
	touch $@

# Digits and drawn streets under partial and zero padding; ends with tables and pictures.
demo: $(VENV)/.demo
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
	$(BIN)/python docs/command_pages.py build/commands
	$(BIN)/python docs/build_site.py
	$(BIN)/python docs/run_blocks.py

# Builds wheel and sdist into dist/, looks into them, and runs each from a bare environment under each Python found here.
release-check:
	$(PYTHON) .ci/release_check.py --output dist

# Pins the newest versions that pyproject.toml allows, with the hashes of all their files, for all platforms at once.
UV_COMPILE = $(BIN)/uv pip compile --quiet --upgrade --universal --generate-hashes --python-version 3.11 \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command "make requirements"

requirements: | $(BIN)/python
	$(PIP) install --quiet "uv>=0.9"
	$(UV_COMPILE) requirements/release.in --output-file requirements/release.txt
	$(UV_COMPILE) pyproject.toml requirements/build.in --extra test --output-file requirements/test.txt
	$(UV_COMPILE) pyproject.toml requirements/build.in --extra samples --extra figures \
		--output-file requirements/demo.txt

clean:
	rm -rf $(VENV) build dist demo
