# make demo: everything on a synthetic cohort.   make test: all tests.   make lint: style, types, layers.
# make check: style, layers and the fast tests.  make coverage: all tests, and the lines that none runs.
# make faults: commands that are killed, stopped or out of disk lose nothing; about 25 minutes.
# make docs: the documentation site.             make bench: speed and scale beside other programs, as ratios.
# make fuzz: every malformed input; counts of how they end are written to tests/fuzz/counts.json.
# make locked: what `make test` needs, at the versions and hashes of requirements.lock; then as always.
# make lock: requirements.lock anew.             make sbom: dist/hmopt.cdx.json, what a release is made of.
PYTHON ?= $(shell for name in python3 python3.13 python3.12 python3.11 python3.14; do \
	"$$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$name" && break; done)
VENV := .venv
BIN := $(VENV)/bin
USER_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev
RELEASE_STAMP := $(VENV)/.installed-release
LOCK := requirements.lock
WORKERS ?= auto
# each process takes neighbouring tests: what they share is then made once, and not in each process
SIDE_BY_SIDE = -n $(WORKERS) --dist worksteal

.PHONY: demo test check lint coverage faults docs bench fuzz locked lock sbom clean

demo: $(USER_STAMP)
	$(BIN)/hmopt demo demo

test: $(DEV_STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q $(SIDE_BY_SIDE)

check: $(DEV_STAMP)
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/lint-imports > /dev/null || $(BIN)/lint-imports
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q $(SIDE_BY_SIDE) -m "not slow" tests

coverage: $(DEV_STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q $(SIDE_BY_SIDE) --cov --cov-report=term:skip-covered

faults: $(DEV_STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.faults
	$(BIN)/python -m studies.readme > /dev/null

docs: $(DEV_STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Documentation: site/index.html"

lint: $(DEV_STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(DEV_STAMP)
	$(BIN)/python -m benchmarks

fuzz: $(DEV_STAMP)
	rm -f tests/fuzz/counts.json
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --counts tests/fuzz/counts.json

locked: pyproject.toml $(LOCK) | $(BIN)/python
	$(BIN)/python -m pip install --quiet --require-hashes --requirement $(LOCK)
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $(DEV_STAMP) $(USER_STAMP)

lock: $(RELEASE_STAMP)
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra dev \
		--custom-compile-command "make lock" --output-file $(LOCK) pyproject.toml

sbom: $(RELEASE_STAMP)
	mkdir -p dist
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --constraint $(LOCK) \
		--output-file dist/requirements.txt pyproject.toml
	$(BIN)/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --no-validate \
		--output-format JSON --output-file dist/hmopt.cdx.json dist/requirements.txt
	@echo "SBOM: dist/hmopt.cdx.json"

clean:
	rm -rf $(VENV) build dist site *.egg-info

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: expected Python 3.11 or newer, got none. Install one, or: make PYTHON=/path/to/python"; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(USER_STAMP): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(DEV_STAMP): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(USER_STAMP)

$(RELEASE_STAMP): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --editable '.[release]'
	touch $@ $(USER_STAMP)
