# Each target installs what it needs first. Nothing is installed outside this folder.
#   make demo                    the simulated study, then its summary (ROIS="V1 TO" for less, SEEDS=0: no test)
#   make study                   every analysis of it, then its summary
#                                PROFILE=slurm runs the jobs on a cluster, as config/slurm says
#   make real AGREED=yes         a macaque's measured V1, V4 and IT: fetched (5 GB), prepared, then its study: an evening;
#                                AGREED=yes: you keep the terms of THINGS' pictures, which are told first
#   make test                    all tests
#   make quick                   lint, and the tests of seconds: under two minutes
#   make lab                     JupyterLab on the notebooks
#   make explore                 an explorer as an app, for this machine only (EXPLORER=14_brain_and_geometry for another)
#   make site                    the site of the finished runs, into site/ (SHOWN=tvsd-F: another study's)
#   make clean                   remove results, their site and the simulated study (keeps .venv and data/raw)

PYTHON ?= python3
ROIS   ?= V1 V2 V4 VO PHC LO TO
SEEDS  ?= 0 1 2
CORES  ?= all
PROFILE ?=
EXPLORER ?= 05_attack_explorer
AGREED ?=
SHOWN  ?= demo
FETCH  ?=
BIN    := .venv/bin
UV     := $(shell command -v uv || echo .uv/bin/uv)

.PHONY: demo study real test quick lint lab explore site lock clean

PLACE  := $(if $(PROFILE),--profile config/$(PROFILE),--cores $(CORES))
CHOSEN  = --rois "$(ROIS)" --seeds "$(SEEDS)" $(PLACE)

demo: .venv/.ready
	@echo "== the simulated study: $(ROIS); seeds $(SEEDS)"
	@$(BIN)/python -m nbtools demo $(CHOSEN)

study: .venv/.ready
	@echo "== every analysis of the simulated study: $(ROIS); seeds $(SEEDS)"
	@$(BIN)/python -m nbtools study $(CHOSEN) --targets study explorers

# What is there is kept, step by step. FETCH="--mirror http://…" has the data come from elsewhere.
real: .venv/.ready
	@echo "== measured: V1, V4 and IT of macaque F (data/README.md); AGREED=yes if you keep the terms of the pictures"
	$(BIN)/python -m nbtools fetch things $(if $(filter yes,$(AGREED)),--agreed) $(FETCH)
	$(BIN)/python -m nbtools fetch tvsd --monkeys F $(FETCH)
	$(BIN)/python -m nbtools prepare tvsd --monkeys F
	$(BIN)/python -m nbtools plan config/tvsd.yaml
	$(BIN)/python -m nbtools study config/tvsd.yaml $(PLACE)

# The browser's files come first: few tests that take minutes would leave one worker idle at the end.
test: .venv/.ready
	@echo "== tests, the notebooks among them (about 20 minutes on two cores)"
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

quick: lint
	$(BIN)/python -m pytest -q -n auto --dist worksteal -m "not slow and not notebook and not browser and not long"

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/nbstripout --verify --keep-id notebooks/*.ipynb

lab: .venv/.ready
	$(BIN)/python -m nbtools lab

explore: .venv/.ready
	$(BIN)/python -m nbtools explore $(EXPLORER)

site: .venv/.ready
	$(BIN)/python -m nbtools site $(SHOWN)

lock: $(UV)
	$(UV) pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet \
		--extra dev --extra site --extra slurm pyproject.toml -o requirements.lock

clean:
	rm -rf runs data/derived site build/site build/explorers .snakemake .pytest_cache .mypy_cache .ruff_cache .hypothesis

# The stamp is written last: an interrupted installation is taken up again.
.venv/.ready: requirements.lock pyproject.toml | $(UV)
	@echo "== installing the locked packages into .venv (about 6 GB on Linux: torch brings CUDA along)"
	@test -x $(BIN)/python || $(UV) venv --quiet --python "$(PYTHON)" .venv
	UV_COMPILE_BYTECODE=1 $(UV) pip sync --quiet --python $(BIN)/python --require-hashes requirements.lock
	$(UV) pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@

.uv/bin/uv:
	@echo "== installing uv into .uv"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed; $$($(PYTHON) --version) was found. Try: make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv .uv
	.uv/bin/pip install --quiet --disable-pip-version-check "uv>=0.5"
