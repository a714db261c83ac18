# Two commands are all that a newcomer needs: `make run` and `make test`. Both set up what they need and reuse it.
#
#   make run                                        Kvasir v2, downloaded; drawn pictures where its site is out of reach
#   make run DATA=folder-or-zip FEATURES=archive    your own pictures, with shipped features if you have them
#   make test                                       every test
#   make quick                                      lint, types and the tests that matter while editing
#   make check                                      lint, format, types
#   make screenshots                                the README's picture of the page, of drawn pictures
#   make lowest                                     the quick tests, on the lowest declared version of each dependency
#
# VENV and WORK say where the installation and the data go, SITE where Kvasir is fetched from, THEN what follows the
# evaluation in place of `serve`, such as THEN='serve --port 9000', WORKERS how many processes test at once, and ROUNDS
# how many rounds each test of tests/faults/ makes.

PYTHON ?= python3
DATA ?=
FEATURES ?=
SITE := https://datasets.simula.no/downloads/kvasir/
THEN := serve
VENV := .venv
WORK := .data
BIN := $(VENV)/bin
LOWEST := $(VENV)-lowest
WORKERS := $(shell echo $$(($$(nproc 2>/dev/null || echo 2) + 1)))
ROUNDS :=

SETTINGS := PYTHON DATA FEATURES SITE THEN VENV WORK WORKERS ROUNDS SHELL
GIVEN := $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name)))
ifneq ($(filter-out $(SETTINGS),$(GIVEN)),)
$(error there is no setting $(filter-out $(SETTINGS),$(GIVEN)); the settings, in capitals: $(SETTINGS))
endif

.PHONY: run test quick check screenshots lowest clean
.DELETE_ON_ERROR:

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml | $(BIN)/python
	@echo 'installing into $(VENV): a few minutes and about 6 GB, once'
	$(BIN)/pip install --quiet --editable .
	touch $@

$(VENV)/installed-dev: pyproject.toml | $(BIN)/python
	@echo 'installing into $(VENV): a few minutes and about 6 GB, once'
	$(BIN)/pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/installed

run: $(VENV)/installed
	@DATA='$(DATA)' FEATURES='$(FEATURES)' WORK='$(WORK)' BIN='$(BIN)' SITE='$(SITE)' THEN='$(THEN)' sh -eu -c '\
	if [ -z "$$DATA" ]; then \
	  DATA=$$WORK/kvasir-dataset-v2.zip FEATURES=$$WORK/kvasir-dataset-v2-features.zip; \
	  if [ ! -e "$$DATA" ] || [ ! -e "$$FEATURES" ]; then \
	    $$BIN/kvasir download v2 --features --base-url "$$SITE" "$$WORK" || { \
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
	$$BIN/kvasir evaluate "$$COLLECTION" --keep || echo "not evaluated; the page is served all the same"; \
	echo "the collection, for any other command: $$COLLECTION"; \
	exec $$BIN/kvasir $$THEN "$$COLLECTION"'

# In the order of their names: browsers and faults, which take longest, come first and single files last.
PYTEST := -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder
QUICK := -m 'not slow' tests/unit

test: $(VENV)/installed-dev
	$(BIN)/python $(PYTEST) $(if $(ROUNDS),--rounds $(ROUNDS))

quick: check
	$(BIN)/python $(PYTEST) --quiet $(QUICK)

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

screenshots: $(VENV)/installed-dev
	mkdir -p $(WORK)
	$(BIN)/python .readme/screenshots.py $(BIN)/kvasir $(WORK)

# Old libraries warn about what newer ones bring: only here a warning is no error.
lowest: $(LOWEST)/installed
	$(LOWEST)/bin/python $(PYTEST) --quiet -W ignore::DeprecationWarning -W ignore::FutureWarning $(QUICK)

$(LOWEST)/installed: pyproject.toml .ci/lowest.py $(VENV)/installed-dev
	$(PYTHON) -m venv --clear $(LOWEST)
	$(BIN)/python .ci/lowest.py $(LOWEST)
	$(LOWEST)/bin/pip install --quiet --constraint $(LOWEST)/constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) $(LOWEST) .venv-milvus $(WORK) .mypy_cache .ruff_cache .pytest_cache .hypothesis
