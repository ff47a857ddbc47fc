# Two commands are enough: `make demo` to see the study, `make test` to check the code.
PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check
WORKERS ?= 2

.PHONY: help setup demo test lint dev lock sbom bundle bundle-check docs system accountant clean

help:            ## what there is
	@grep -E '^[a-z-]+: .*##|^[a-z-]+:  *##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | expand -t 16

setup: $(VENV)/.ready   ## the environment alone

$(VENV)/.ready: requirements/build.txt requirements/lock.txt requirements/torch.txt pyproject.toml
	@command -v gcc >/dev/null || { echo "gcc is missing: PyRadiomics is compiled from source. Debian: apt-get install gcc" >&2; exit 1; }
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is missing; name another with make PYTHON=…" >&2; exit 1; }
	@echo "Environment in $(VENV) (some minutes the first time) …"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(PIP) --require-hashes -r requirements/build.txt
	@$(PIP) --no-build-isolation --require-hashes -r requirements/lock.txt
	@$(PIP) --no-deps -r requirements/torch.txt
	@$(PIP) --no-deps --no-build-isolation -e .
	@$(BIN)/python -c 'from dagster_project.radiomics.fused_engine import warm; warm()'   # compiles the kernels once
	@touch $@

demo: setup     ## a synthetic cohort of three sites through the whole flow
	@$(BIN)/lakehouse demo

dev: setup      ## Dagster UI with schedules and sensors, and MLflow UI, on 127.0.0.1
	@$(BIN)/lakehouse dev

lint: setup     ## linters, types, import contract, generated text
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python scripts/bars
	$(BIN)/python -m dagster_project.lake.dictionary --check
	$(BIN)/python -m tests.clinical_rules --check
	@test ! -d ../shared/data/ibsi || $(BIN)/python -m dagster_project.radiomics.ibsi ../shared/data --check

system:         ## Debian packages that the tests need
	@scripts/install-debian-packages

test: setup system lint   ## everything that CI checks
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(WORKERS) --dist loadgroup

COMPILE = $(BIN)/uv pip compile --python-version 3.11 --no-header --no-emit-index-url --generate-hashes --upgrade --quiet

lock: setup     ## compile requirements/lock.txt, runtime.txt and build.txt anew, with the hash of every file
	$(PIP) uv
	$(COMPILE) pyproject.toml requirements/torch_dependencies.in --extra dev --extra federated --no-build-isolation-package pyradiomics \
	  -o requirements/lock.txt
	$(COMPILE) pyproject.toml requirements/torch_dependencies.in --extra federated --no-build-isolation-package pyradiomics \
	  -c requirements/lock.txt -o requirements/runtime.txt
	$(COMPILE) requirements/build.in -c requirements/lock.txt -o requirements/build.txt
	$(COMPILE) requirements/accountant.in -o requirements/accountant.txt

sbom: setup     ## components and licences of what runs: build/sbom.cdx.json (CycloneDX), docs/licences.md
	$(BIN)/python scripts/sbom

bundle: setup   ## a release for hospitals without a network: build/lakehouse-<version>/ (as root)
	$(BIN)/python scripts/bundle

bundle-check: setup   ## install that release without network or compiler and run the flow in it (as root)
	$(BIN)/python scripts/bundle-check

docs: setup     ## the generated parts of docs/
	$(BIN)/python -m dagster_project.lake.dictionary
	$(BIN)/python -m tests.clinical_rules
	@test ! -d ../shared/data/ibsi || $(BIN)/python -m dagster_project.radiomics.ibsi ../shared/data

accountant:     ## the ledger's ε beside dp-accounting, in an environment of its own
	@test -x build/accountant/bin/python || $(PYTHON) -m venv build/accountant
	@build/accountant/bin/python -m pip install --quiet --quiet --disable-pip-version-check --require-hashes -r requirements/accountant.txt
	build/accountant/bin/python -m benchmarks.accountant

clean:          ## remove the environment; data stay
	rm -rf $(VENV)
