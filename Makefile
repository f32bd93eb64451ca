# each target's line in `make help` is the comment behind it
PYTHON ?= python3
JOBS ?= 2
CELL_TIMEOUT ?= 120

ifeq ($(OS),Windows_NT)
RUN := .venv/Scripts/python.exe
else
RUN := .venv/bin/python
endif

SWITCHES := $(if $(TORCH),--torch $(TORCH)) $(if $(WHEELHOUSE),--wheelhouse "$(WHEELHOUSE)") \
            $(if $(DISK_GB),--disk-gb $(DISK_GB)) $(if $(filter-out file,$(origin PYTHON)),--this-python)
NO_PYTHON = There is no $(PYTHON) here: install Python 3.11 or newer, or name yours (make $@ PYTHON=python3.12).
INSTALL = @command -v $(PYTHON) >/dev/null || { echo "$(NO_PYTHON)"; exit 1; }; exec $(PYTHON) .ci/install.py $(SWITCHES)

# loopback only, Jupyter's own token and port, a layout of its own, no news; LAB_FLAGS come last and win
LAB := --ServerApp.ip=127.0.0.1 --ServerApp.root_dir="$(CURDIR)" --LabApp.default_url=/lab/tree/my_lessons/00_start_here.ipynb \
       --LabApp.app_settings_dir="$(CURDIR)/.ci/jupyterlab" --LabApp.workspaces_dir="$(CURDIR)/.venv/share/workspaces" \
       $(if $(filter 0,$(shell id -u)),--allow-root)

# without DEVICE=cuda the tests are the CPU's on every machine; one thread each, because several that share few cores
# wait for each other most of the time
ON := OMP_NUM_THREADS=1 FEATLAB_DEVICE=$(or $(DEVICE),cpu) $(if $(filter-out cuda%,$(or $(DEVICE),cpu)),CUDA_VISIBLE_DEVICES="")
PYTEST := $(RUN) -m pytest -n $(JOBS) --dist loadfile
NBVAL := --nbval --nbval-current-env --nbval-sanitize-with tests/nbval_sanitize.cfg --nbval-cell-timeout=$(CELL_TIMEOUT)

# uv leaves compiling to the first import; where that may not be kept, every start takes seconds more
unexport PYTHONDONTWRITEBYTECODE

.NOTPARALLEL:
.PHONY: help lab test notebooks claims workshop site lint floor colab bench sweep recipes weights pictures wheelhouse test-twice address clean

help:  ## show this
	@awk -F ':.*  ## ' '/^[a-z-]+:.*  ## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

lab:  ## install what is missing and open the lessons (TORCH=cpu, WHEELHOUSE=folder, PYTHON=, LAB_FLAGS=)
	$(INSTALL) lab
	@$(RUN) .ci/lessons.py copy
	@exec $(RUN) -m jupyterlab $(LAB) $(LAB_FLAGS)

test:  ## run all tests on the CPU (DEVICE=cuda: there; JOBS=2 at a time)
	$(INSTALL) test
	@echo "== 1 of 4: lint"
	@$(RUN) .ci/lessons.py lint && $(RUN) -m ruff check .
	@echo "== 2 of 4: the lessons against their stored outputs (CPU only)"
	$(if $(filter cuda%,$(DEVICE)),@echo "left out: stored outputs are the CPU's",@$(ON) $(PYTEST) $(NBVAL) notebooks)
	@echo "== 3 of 4: every cell twice, in lessons that changed"
	@$(ON) $(RUN) .ci/lessons.py twice --changed --jobs $(JOBS)
	@echo "== 4 of 4: the tests"
	@$(ON) $(PYTEST) tests

notebooks:  ## run all lessons and store them in normal form
	$(INSTALL) test
	@$(ON) $(RUN) .ci/lessons.py run --jobs $(JOBS)

claims:  ## write notebooks/claims.md, what the stored lessons decide
	$(INSTALL) test
	@$(RUN) .ci/lessons.py claims

workshop:  ## write workshop/: learners' lessons without solutions, instructors' with them
	$(INSTALL) test
	@$(ON) $(RUN) .ci/lessons.py workshop
	@cp notebooks/claims.md workshop/learners/ && cp notebooks/claims.md notebooks/for_teachers.md workshop/instructors/

site:  ## build site/, the lessons as pages to read without a kernel
	$(INSTALL) test
	@$(RUN) .ci/pages.py

lint:  ## look at lessons and code without running them
	$(INSTALL) test
	@$(RUN) .ci/lessons.py lint && $(RUN) -m ruff check .

test-twice:  ## run every cell of every lesson twice, and once more after a restart in the middle
	$(INSTALL) test
	@$(ON) $(RUN) .ci/lessons.py twice --jobs $(JOBS)

# "torch==2.11.*" for pyproject's torch>=2.11
FLOOR = $(shell sed -n 's/^  "\(torch\|torchvision\)>=\(.*\)",$$/"\1==\2.*"/p' pyproject.toml)

floor:  ## run lessons and tests with the oldest torch that featlab takes, in an environment of its own, .floor/
	$(INSTALL) test
	@test -x .floor/bin/python || $(RUN) -m uv venv --quiet .floor
	@$(RUN) -m uv pip install --quiet --python .floor/bin/python $(FLOOR) uv -e ".[test]"
	@$(subst $(RUN),.floor/bin/python,$(ON) $(PYTEST) $(NBVAL) notebooks)
	@$(subst $(RUN),.floor/bin/python,$(ON) $(PYTEST) tests --ignore tests/browser)

colab:  ## run all lessons as Colab would, with its versions of torch and of the notebook's parts, in .colab/
	$(INSTALL) test
	@$(RUN) .ci/colab.py

bench:  ## measure featlab's calls beside the limit and the peers, and what a learner waits for
	$(INSTALL) bench
	@$(RUN) .ci/bench.py && $(RUN) .ci/bench_picker.py

sweep:  ## hold features against torch.fx on all of torchvision's models (a quarter of an hour)
	$(INSTALL) test
	@$(RUN) .ci/sweep.py

recipes:  ## run the README's recipes against Lightning and Hugging Face's Trainer
	$(INSTALL) bench
	@$(RUN) .ci/recipes.py

weights:  ## train the small weights in featlab/weights from scratch
	$(INSTALL) test
	@$(RUN) .ci/weights.py

pictures:  ## draw the README's picture anew, by the README's own lines
	$(INSTALL) test
	@$(RUN) .ci/pictures.py

wheelhouse:  ## fill wheelhouse/ (or INTO=folder), from which `make lab WHEELHOUSE=folder` installs offline
	$(INSTALL) lab
	@$(RUN) .ci/wheelhouse.py "$(or $(INTO),wheelhouse)"

address:  ## show where the repository lives, or write a new address everywhere (TO=owner/name)
	$(INSTALL) test
	@$(RUN) .ci/lessons.py address $(TO)

clean:  ## remove the environment and all caches; my_lessons/ and wheelhouse/ stay
	@rm -rf .venv .venv.lock .floor .colab .pytest_cache .ruff_cache .hypothesis build dist site workshop *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
