# Every command of the project; CI runs the same ones.
.DEFAULT_GOAL := help
SHELL := /bin/bash

PYTHON ?= python3
CONFIG ?=
PORT   ?= 3000
DATA   ?=
ARGS   ?=
ONLY   ?=
MODEL  ?=
AGAIN  ?=
GPU    ?=
IMAGE  ?=
RUN    ?=
A      ?=
B      ?=
OUT    ?= .usher/recommendations
K      ?= 10
PROCESSES ?=

export BENTOML_HOME ?= $(CURDIR)/.usher/bentoml
export BENTOML_DO_NOT_TRACK ?= True

PY        := .venv/bin/python
INSTALLED := .venv/installed
RECIPE    := $(if $(CONFIG),--config $(CONFIG)) $(if $(DATA),--data "$(DATA)") $(ARGS)
BENTO     := $(if $(GPU),usher-gpu,usher)
SEVERAL   := $(if $(PROCESSES),--processes $(PROCESSES))
PIP_INDEX := $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
LOCK      := CUSTOM_COMPILE_COMMAND="make lock" $(PY) -m piptools compile --quiet --strip-extras --allow-unsafe \
             --no-emit-index-url --no-emit-find-links --no-emit-trusted-host $(if $(UPGRADE),--upgrade)

# BentoML's store keeps the newest version's name in `latest`, so no Python need start to look.
train_if_no_model = @test -n "$(USHER_MODEL)" || test -e "$(BENTOML_HOME)/models/usher/latest" \
                    || $(MAKE) --no-print-directory train

.PHONY: help run demo test train evaluate ablate accuracy experiments serve activate pull-ratings bento container lint bench soak fuzz docs check-gpu-libraries report compare recommend-all scaleout lock clean

help:  ## List the targets
	@echo "make TARGET [PORT=3000] [CONFIG=small] [DATA=ml-latest-small] [PYTHON=python3]"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-20s %s\n", $$1, $$2}' Makefile

run: $(INSTALLED)  ## Serve recommendations on PORT, training a model first if there is none
	$(train_if_no_model)
	@$(PY) -m service.local serve --port $(PORT)

demo: $(INSTALLED)  ## Serve on a free port, ask for one user's top 10, print it, stop
	$(train_if_no_model)
	@$(PY) -m service.local demo

serve: $(INSTALLED)  ## Serve the active or else the newest model (or USHER_MODEL) on PORT
	@$(PY) -m service.local serve --port $(PORT)

train: $(INSTALLED)  ## Train CONFIG on DATA in PROCESSES and register the bundle as usher:<version>
	@$(PY) -m training train $(RECIPE) $(SEVERAL)

evaluate: $(INSTALLED)  ## Score CONFIG and the baselines on DATA's held-out rows
	@$(PY) -m training evaluate $(RECIPE) $(SEVERAL)

ablate: $(INSTALLED)  ## Try changes of CONFIG from 3 seeds on validation rows: ARGS="--variant key=value"
	@$(PY) -m training ablate $(RECIPE)

accuracy: $(INSTALLED)  ## Measure models and peers on the same rows; ONLY=ml-1m:best a part of it
	@$(PY) -m training accuracy $(if $(ONLY),--only "$(ONLY)") $(if $(AGAIN),--again) $(ARGS)

experiments: $(INSTALLED)  ## Print the runs recorded so far, best first
	@$(PY) -m training experiments $(if $(DATA),--data "$(DATA)") $(ARGS)

report: $(INSTALLED)  ## Make the page of the newest run, or of RUN=folder or id, and open it
	@$(PY) -m training report $(if $(RUN),"$(RUN)") $(ARGS)

compare: $(INSTALLED)  ## Set two runs side by side: A=folder B=folder, or ids of make experiments
	@$(PY) -m training compare "$(A)" "$(B)" $(ARGS)

test: $(INSTALLED)  ## Run every test
	@$(PY) -m pytest $(ARGS)

lint: $(INSTALLED)  ## Check style, types and the direction of imports
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@.venv/bin/lint-imports

bench: $(INSTALLED)  ## Set the service against its peers on this machine; writes results/bench.json
	@$(PY) -m tests.benchmarks.serving $(ARGS)

soak: $(INSTALLED)  ## Ten minutes of load while everything fails in turn; writes results/soak.json
	@$(PY) -m tests.benchmarks.soak $(ARGS)

fuzz: $(INSTALLED)  ## 100,000 random requests: none may be a 500, leave a traceback or take long
	@$(PY) -m tests.benchmarks.fuzz $(ARGS)

scaleout: $(INSTALLED)  ## Fit DATA (ml-1m) in one process and in two; writes results/processes.json
	@$(PY) -m tests.benchmarks.processes $(if $(DATA),--data "$(DATA)") $(ARGS)

activate: $(INSTALLED)  ## Serve MODEL from now on, in running services too: MODEL=usher:<version>
	@$(PY) -m service.local activate --model "$(MODEL)"

pull-ratings: $(INSTALLED)  ## Write the ratings people gave to .usher/given-ratings.csv
	@$(PY) -m service.local pull

recommend-all: $(INSTALLED)  ## Write every user's best K items to OUT as Parquet; ARGS="--warm-cache" and more
	$(train_if_no_model)
	@$(PY) -m service.local.batch $(if $(findstring --warm-only,$(ARGS)),,--out "$(OUT)") --k "$(K)" $(ARGS)

bento: $(INSTALLED)  ## Package the service and its newest model as a Bento; GPU=1 for NVIDIA's
	$(train_if_no_model)
	@$(PY) -m bentoml build --bentofile $(if $(GPU),bentofile.gpu.yaml,bentofile.yaml)

# BentoML reads the image's template from its temporary folder, and nothing outside the folder that
# it is called in: so that one is both. podman keeps health checks in docker's format alone. A
# docker without buildx builds as it did before there was one, which BentoML would not ask for.
container: $(INSTALLED)  ## Build a container image of the newest Bento: GPU=1, IMAGE=name:tag
	@for engine in docker podman; do $$engine version >/dev/null 2>&1 && break; engine=; done; \
	test -n "$$engine" || { echo "No container engine answers here: start docker or podman, \
	then run make container again." >&2; exit 1; }; \
	test -e "$(BENTOML_HOME)/bentos/$(BENTO)/latest" || $(MAKE) --no-print-directory bento && \
	{ test $$engine != docker || docker buildx version >/dev/null 2>&1 || export DOCKER_BUILDKIT=0; } && \
	image="$(or $(IMAGE),$(BENTO):$$(cat "$(BENTOML_HOME)/bentos/$(BENTO)/latest"))" && \
	scratch="$$(mktemp -d)" && trap 'rm -rf "$$scratch"' EXIT && cd "$$scratch" && \
	TMPDIR="$$scratch" $(CURDIR)/$(PY) -m bentoml containerize $(BENTO):latest --image-tag "$$image" \
	    --backend $$engine $$(test $$engine = docker || echo --opt format=docker) && \
	$$engine image inspect "$$image" >/dev/null && \
	printf '%s\n' "Built $$image. To run it by itself, with keys of your own:" \
	    "  $$engine run --read-only --tmpfs /tmp --cap-drop ALL $(if $(GPU),--gpus all -v usher-engines:/engines )-p 3000:3000 -e USHER_API_KEYS $$image" \
	    "With its cache and ratings: deploy/compose.yaml; docs/operations.md has more."

docs: $(INSTALLED)  ## Write what the pages of docs/ say of the code
	@$(PY) -m docs.generate

check-gpu-libraries: $(INSTALLED)  ## Resolve onnxruntime-gpu against the pinned libraries (2.7 GB, no GPU)
	@$(PY) -m tests.benchmarks.gpu_libraries

lock: $(INSTALLED)  ## Pin requirements/*.in into full.txt and the two service*.txt (UPGRADE=1 for newer ones)
	@$(LOCK) --output-file requirements/full.txt requirements/{service,training,dev}.in
	@sed -E 's/^(torch==[0-9.]+)\+.*/\1/' requirements/full.txt > requirements/full.tmp
	@mv requirements/full.tmp requirements/full.txt
	@for image in service service-gpu; do $(LOCK) --no-annotate --constraint requirements/full.txt \
	    --output-file requirements/$$image.txt requirements/$$image.in || exit; done

clean:  ## Remove what make created; ratings people gave stay unless RATINGS=remove
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@if [ -d .usher ]; then find .usher -mindepth 1 -maxdepth 1 \
	    $(if $(filter remove,$(RATINGS)),,! -name redis) -exec rm -rf {} +; fi
	@if [ -d .usher/redis ]; then echo "Kept .usher/redis, the ratings people gave:" \
	    "make clean RATINGS=remove removes them too."; fi

$(INSTALLED): requirements/full.txt
	@command -v $(PYTHON) >/dev/null || { echo "There is no $(PYTHON) here: install Python \
	3.11 or newer, or name it with PYTHON=/path/to/python3." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info; v >= (3, 11) or sys.exit("Usher needs Python \
	3.11 or newer and $(PYTHON) is %d.%d: name another with PYTHON=/path/to/python3." % v[:2])'
	@$(PYTHON) -m venv .venv || { echo "$(PYTHON) could not make a virtual environment: it \
	lacks its venv module (Debian calls it python3-venv)." >&2; exit 1; }
	@echo "Installing the pinned environment into .venv (once)"
	@$(PY) -m pip install --disable-pip-version-check $(PIP_INDEX) -r requirements/full.txt
	@touch $@
