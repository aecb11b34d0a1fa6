# make demo    train, sample and rotate on bundled data; writes runs/demo/report.html
# make test    all tests, offline
# make campaign  10,000 damaged files a reader, 1,000 kills a kind of work, 20 visitors of the studio; CAMPAIGN_EXAMPLES=, CAMPAIGN_KILLS=
# make lint    ruff, mypy, import-linter
# make docs    the documentation site, into site/; with DOCS_EXECUTE=true the notebooks are run for it (minutes)
# make clean   remove .venv and the caches

VENV := .venv
JOBS ?= 2
CAMPAIGN_EXAMPLES ?= 10000
CAMPAIGN_KILLS ?= 1000
DEMO_FLAGS ?=
PYTEST_FLAGS ?=

ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
else
BIN := $(VENV)/bin
endif

# The first interpreter that is new enough; `make PYTHON=/path/to/python` overrides the search.
NEW_ENOUGH := -c 'import sys; sys.exit(sys.version_info < (3, 11))'
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11 python; do \
	$$p $(NEW_ENOUGH) >/dev/null 2>&1 && echo $$p && break; done)

.PHONY: demo install test campaign lint docs clean help
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# \(make \)/\1/p' Makefile

demo: $(VENV)/.installed
	$(BIN)/aliasfree demo $(DEMO_FLAGS)

install: $(VENV)/.installed

# One torch thread a worker: two workers with a pool each would fight over the cores.
test: $(VENV)/.dev
	HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 OMP_NUM_THREADS=1 MPLBACKEND=Agg \
		$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup $(PYTEST_FLAGS)

campaign: $(VENV)/.dev
	CAMPAIGN_EXAMPLES=$(CAMPAIGN_EXAMPLES) OMP_NUM_THREADS=1 \
		$(BIN)/python -m pytest -n $(JOBS) tests/data/test_damaged_input.py
	CAMPAIGN_KILLS=$(CAMPAIGN_KILLS) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -p no:xdist tests/campaigns/campaign_kill.py \
		tests/campaigns/campaign_kill_outputs.py
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -s tests/campaigns/campaign_studio.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# A broken link or a missing name is an error. MkDocs' notice about its own future is no warning of ours.
docs: $(VENV)/.dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo "The site is in site/; open site/index.html, or serve it with: $(BIN)/python -m http.server --directory site"

# pip older than 25.1 knows no --group, so the one in the venv is renewed first.
$(VENV)/.created:
	@test -n "$(PYTHON)" && $(PYTHON) $(NEW_ENOUGH) || { \
		echo "error: aliasfree needs Python 3.11 or newer; install one, or name it with 'make PYTHON=/path/to/python3.11'." >&2; \
		exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/.installed: $(VENV)/.created pyproject.toml
	@echo "Installing aliasfree and what it needs into $(VENV) (the first time downloads torch: minutes)."
	$(BIN)/python -m pip install --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.installed pyproject.toml
	$(BIN)/python -m pip install --quiet --group dev
	@touch $@

clean:
	rm -rf $(VENV) site .cache .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
