# Two commands are all that a newcomer needs: `make run` and `make test`. Both set up what they need and reuse it.
#
#   make run                                        Kvasir v2, downloaded; drawn pictures where its site is out of reach
#   make run DATA=folder-or-zip FEATURES=archive    your own pictures, with shipped features if you have them
#   make test                                       every test
#   make check                                      lint, format, types

PYTHON ?= python3
DATA ?=
FEATURES ?=
BIN := .venv/bin
WORK := .data

.PHONY: run test check clean
.DELETE_ON_ERROR:

$(BIN)/python:
	$(PYTHON) -m venv .venv

.venv/installed: pyproject.toml | $(BIN)/python
	@echo 'installing into .venv: a few minutes and about 6 GB, once'
	$(BIN)/pip install --quiet --editable .
	touch $@

.venv/installed-dev: pyproject.toml | $(BIN)/python
	@echo 'installing into .venv: a few minutes and about 6 GB, once'
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@ .venv/installed

run: .venv/installed
	@DATA='$(DATA)' FEATURES='$(FEATURES)' WORK='$(WORK)' BIN='$(BIN)' sh -eu -c '\
	if [ -z "$$DATA" ]; then \
	  DATA=$$WORK/kvasir-dataset-v2.zip FEATURES=$$WORK/kvasir-dataset-v2-features.zip; \
	  if [ ! -e "$$DATA" ] || [ ! -e "$$FEATURES" ]; then \
	    $$BIN/kvasir download v2 --features "$$WORK" || { \
	      DATA=$$WORK/drawn-sample FEATURES=; \
	      echo; \
	      echo "Kvasir could not be downloaded. To have something to look at, this run uses DRAWN pictures of the 8 classes."; \
	      echo "They are not endoscopy, and no figure measured on them says anything about retrieval in medicine."; \
	      echo; \
	      [ -e "$$DATA" ] || $$BIN/kvasir sample "$$DATA"; \
	    }; \
	  fi; \
	fi; \
	COLLECTION=$$WORK/$$(basename "$$DATA" .zip)-$$(realpath "$$DATA" | cksum | cut -d" " -f1).collection; \
	$$BIN/kvasir index "$$DATA" "$$COLLECTION" $${FEATURES:+--features "$$FEATURES"} || [ $$? -eq 1 ]; \
	$$BIN/kvasir evaluate "$$COLLECTION" || echo "not evaluated; the page is served all the same"; \
	exec $$BIN/kvasir serve "$$COLLECTION"'

test: .venv/installed-dev
	$(BIN)/python -m pytest

check: .venv/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf .venv .data .mypy_cache .ruff_cache .pytest_cache .hypothesis
