# Two commands for a newcomer: `make demo` and `make test`. Each makes .venv first, in either order, and again.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
# An interpreter that runs, is 3.11 to 3.13 and can make environments: a name on PATH may be an empty shim.
FIND_PYTHON := for name in $(PYTHON) python3.13 python3.12 python3.11 python3 python; do \
	if "$$name" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; \
	then echo "$$name"; break; fi; done

.PHONY: help demo demo-predict test check figures figure1 bench bench-gpu clean

help:  ## what there is
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

.venv/installed: pyproject.toml constraints.txt
	@python=$$($(FIND_PYTHON)); \
	if [ -z "$$python" ]; then echo "scalelaw needs Python 3.11, 3.12 or 3.13 with venv; set PYTHON=/path/to/python3"; exit 2; fi; \
	echo "making .venv with $$("$$python" --version)"; "$$python" -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

demo: .venv/installed  ## train a small-to-large sweep, fit it, draw Figures 2 and 3 and the frontier
	$(BIN)/scalelaw sweep runs/demo.toml
	$(BIN)/scalelaw fit results/demo --law power
	$(BIN)/scalelaw frontier results/demo
	$(BIN)/scalelaw predict results/demo --times 4
	$(BIN)/scalelaw figures results/demo -o figures
	@echo "Next: make demo-predict trains what predict proposes at 4 times the largest run, and prints one beside the other"

demo-predict: .venv/installed  ## predict 4 times the demo's largest run, train it, print prediction beside outcome
	$(BIN)/scalelaw sweep runs/demo.toml
	$(BIN)/python analysis/demo_predict.py results/demo

test: .venv/installed  ## every test, the slow ones too
	$(BIN)/pytest -m "slow or not slow" -n auto --dist worksteal

check: .venv/installed  ## format, lint, types, layers, then make test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(MAKE) --no-print-directory test

figures: .venv/installed  ## redraw README's figures from runs/recorded/, training nothing
	$(BIN)/python analysis/figure1.py
	$(BIN)/python analysis/error_vs_loss.py
	$(BIN)/python analysis/figure2.py
	$(BIN)/python analysis/figure3.py
	$(BIN)/python analysis/frontier.py
	$(BIN)/python analysis/equal_compute.py
	$(BIN)/python analysis/surface.py
	$(BIN)/python analysis/residuals.py
	$(BIN)/python analysis/roll_outs.py
	$(BIN)/python analysis/learning_rate_basins.py
	$(BIN)/python analysis/prediction.py
	$(BIN)/python analysis/figure2.py runs/recorded/digits -o analysis/figures/digits

figure1: .venv/installed  ## redraw Figure 1, error after fine-tuning, from runs/recorded/transfer
	$(BIN)/python analysis/figure1.py

bench: .venv/installed  ## speed and memory, as ratios against a peer or a limit
	$(BIN)/pytest tests/benchmarks --benchmark-enable --benchmark-only -s -m "slow or not slow" -p no:xdist

bench-gpu: .venv/installed  ## training steps on a GPU beside timm; skips with a reason without one
	$(BIN)/pytest tests/benchmarks/test_gpu_speed.py --benchmark-enable --benchmark-only -s -m "slow or not slow" -p no:xdist -rs

clean:  ## remove the environment and the demo's results
	rm -rf .venv results figures
