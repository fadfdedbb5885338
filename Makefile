# Every target works on a fresh clone: the virtual environment is a prerequisite of all.
# FIRESEG_DIR=… names the data, MODEL=… the .keras model; the commands read both from the environment.

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q

.DEFAULT_GOAL := help
.PHONY: help export-int8 test test-fast lint bench bench-compare bench-peers bench-pi soak demo drift ledger lock clean

help:  ## Show the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

export-int8: .venv/.train  ## Export to float16 and int8 TFLite, and compare with the float (FIRESEG_DIR=, MODEL=)
	@$(BIN)/fireseg-export int8

test: .venv/.dev  ## Run all tests (FIRESEG_DIR= adds the ones on real data)
	$(BIN)/python -m pytest

test-fast: .venv/.dev  ## Run the tests that take no training and no conversion
	$(BIN)/python -m pytest -m "not slow"

lint: .venv/.dev  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.bench  ## Time the shipped models and keep that as this machine's baseline (MODEL= another .tflite)
	$(BIN)/python -m pytest benchmarks/test_latency.py --benchmark-only --benchmark-autosave --benchmark-columns=median,iqr,min,rounds

bench-compare: .venv/.bench  ## Time them again, and fail where one became slower than the baseline
	@$(BIN)/python -m benchmarks.compare

bench-peers: .venv/.train  ## Compare runtimes on the shipped network, how fast and how well (FIRESEG_DIR=, MODEL= a .keras)
	@$(BIN)/python -m benchmarks.peers

bench-pi: .venv/.train  ## Count instructions on a Pi 4 and a Pi 5 under QEMU, and compare masks (as root; FIRESEG_DIR=)
	@$(BIN)/python -m benchmarks.pi

soak: .venv/.dev  ## Run the camera loop for ten minutes under load and under faults (with mosquitto; as root for a full disk)
	@$(BIN)/python -m benchmarks.soak

demo: .venv/.bench  ## Mark fire in the test pattern, or in VIDEO=, and write build/demo.mp4 (MODEL= another .tflite)
	@$(BIN)/python -c 'from edge.cli import run; run()' run --model $(or $(MODEL),models/fireseg-base-int8.tflite) \
	  --source $(or $(VIDEO),test-pattern) --replay every-frame $(if $(VIDEO),,--max-frames 200) --record build/demo.mp4
	@echo "build/demo.mp4 shows what it marked"

drift: .venv/.dev  ## Judge the shipped models against their floats, and note it in the ledger (FIRESEG_DIR=)
	$(BIN)/python -m pytest benchmarks/test_iou_drift.py --show-capture=no

ledger: .venv/.train  ## Draw what the shipped models were measured at over time
	@$(BIN)/python -m benchmarks.ledger

lock: .venv/.dev  ## Pin every dependency anew, from pyproject.toml
	$(PIP) uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --extra dev pyproject.toml -o requirements/dev.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --extra train pyproject.toml -o requirements/train.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --extra bench -c requirements/dev.lock pyproject.toml -o requirements/bench.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header -c requirements/dev.lock pyproject.toml -o requirements/edge.lock
	$(BIN)/uv pip compile -q --python-version 3.11 --generate-hashes --no-header requirements/tflite-runtime.in -o requirements/tflite-runtime.lock
	$(BIN)/uv pip compile -q --no-build --universal --python-version 3.11 --generate-hashes --no-header -c requirements/dev.lock requirements/peers/litert.in -o requirements/peers/litert.lock
	$(BIN)/uv pip compile -q --no-build --python-version 3.11 --generate-hashes --no-header -c requirements/dev.lock requirements/peers/keras.in -o requirements/peers/keras.lock
	for peer in onnxruntime openvino ncnn opencv; do $(BIN)/uv pip compile -q --no-build --universal --python-version 3.11 --generate-hashes --no-header requirements/peers/$$peer.in -o requirements/peers/$$peer.lock || exit 1; done
	$(BIN)/uv pip compile -q --no-deps --universal --python-version 3.11 --generate-hashes --no-header requirements/peers/pnnx.in -o requirements/peers/pnnx.lock

clean:  ## Remove what was built; runs/ and data/ stay
	rm -rf build .venv

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "error: this is Python %d.%d, expected 3.11 to 3.13: run make with PYTHON=python3.11" % sys.version_info[:2])'
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

# The versions are those of dev.lock, so that installing it into a whole environment changes nothing.
.venv/.bench: requirements/bench.lock pyproject.toml | .venv/bin/python
	@$(PIP) --require-hashes -r requirements/bench.lock
	@touch $@

.venv/.train: requirements/train.lock pyproject.toml | .venv/bin/python
	@echo "installing TensorFlow and the rest into .venv (some 700 MB, once)"
	@$(PIP) --require-hashes -r requirements/train.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

.venv/.dev: requirements/dev.lock pyproject.toml | .venv/bin/python
	@echo "installing TensorFlow, JAX and the test tools into .venv (some 900 MB, once)"
	@$(PIP) --require-hashes -r requirements/dev.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch .venv/.train .venv/.bench $@
