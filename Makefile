# Every target prepares what it needs: a virtual environment in .venv and, where apt may be used,
# the system's packages. What is in place already is left alone, and then no network is needed.
#
#   ARGS=...     handed on: make demo ARGS='--seconds 30', make test ARGS='-k mouth', make train ARGS=...
#   TORCH=...    what pip shall install for torch before the training tests, for example
#                torch==2.13.0; without it `make test` skips them unless torch is there already
#   PYTHON=...   the interpreter for .venv (3.10 or later); found by itself otherwise

VENV := .venv
ARGS ?=
TORCH ?=
SETUP := scripts/setup.sh
WANTED := pyproject.toml $(SETUP)

.DEFAULT_GOAL := help
.PHONY: help demo test check lint audit soak bench evaluate train quantize clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*##  *\(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST)

demo: $(VENV)/.ready-demo  ## a minute of conversation with the reference model; files in demo-out/
	$(VENV)/bin/edge-runtime demo --out demo-out $(ARGS)

test: $(VENV)/.ready-$(if $(TORCH),train,dev)  ## the tests
	$(VENV)/bin/python -m pytest -q -n 2 $(ARGS)

check: lint audit test  ## lint, audit and test: all that a change must pass

lint: $(VENV)/.ready-dev  ## style, types and import contracts only
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

audit: $(VENV)/.ready-dev  ## known vulnerabilities of the dependencies, where the data can be reached
	$(VENV)/bin/python scripts/audit.py

soak: $(VENV)/.ready-dev  ## 24 hours of service in minutes with faults, 1,000 starts, fuzzing
	$(VENV)/bin/python -m pytest -q -s -m soak -o faulthandler_timeout=0 $(ARGS)

bench: $(VENV)/.ready-demo  ## cost of a micro-turn, memory over a two-hour run, delegation
	$(VENV)/bin/edge-runtime bench $(ARGS)
	$(VENV)/bin/edge-runtime bench-delegation

evaluate: $(VENV)/.ready-evaluate  ## judge the model beside its baselines; the report is in evaluation-out/
	$(VENV)/bin/edge-runtime evaluate --out evaluation-out $(ARGS)

# glibc else hands a step's memory back, and each step faults it in anew.
KEEP_MEMORY = MALLOC_MMAP_THRESHOLD_=4294967296 MALLOC_TRIM_THRESHOLD_=17179869184

train: $(VENV)/.ready-train  ## train the reference model (CPU or CUDA); ARGS=--help says how
	$(KEEP_MEMORY) $(VENV)/bin/python -m engines.reference.train $(ARGS)

# ARGS='--data DIR' adds human speech to what is calibrated on and measured.
quantize: $(VENV)/.ready-train  ## the reference model's int8 graph for TensorRT, and what it costs
	$(VENV)/bin/python -m calibration.int8.draw --out build/calibration $(ARGS)
	$(VENV)/bin/edge-runtime calibrate --recording build/calibration/draw.mcap \
	  --recording build/calibration/check.mcap --json calibration/int8/report.json
	$(VENV)/bin/edge-runtime engine lint
	$(VENV)/bin/python -m calibration.int8.cost $(ARGS)

clean:  ## remove what demo, tests and builds wrote; .venv, runs/ and training/ stay
	rm -rf demo-out evaluation-out build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find edge_runtime engines tests -name __pycache__ -type d -prune -exec rm -rf {} +

# A larger set contains the smaller ones, so its stamp counts for them too.
$(VENV)/.ready-demo: $(WANTED)
	$(SETUP) demo
	touch $@

$(VENV)/.ready-dev: $(WANTED)
	$(SETUP) demo,dev
	touch $(VENV)/.ready-demo $@

$(VENV)/.ready-evaluate: $(WANTED)
	$(SETUP) evaluate
	touch $(VENV)/.ready-demo $@

$(VENV)/.ready-train: $(WANTED)
	TORCH='$(TORCH)' $(SETUP) demo,dev,train
	touch $(VENV)/.ready-demo $(VENV)/.ready-dev $@
