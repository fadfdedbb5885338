# Every target works in a fresh clone: each depends on the virtual environment it needs.
# The commands read FIRESEG_DIR (data set) and MODEL (.keras or .tflite model) from the environment. ARGS adds flags.

PYTHON ?= python3
ifneq ($(filter 3%,$(PYTHON)),)
$(error PYTHON=$(PYTHON) is not an interpreter of this machine, such as python$(PYTHON); for the Python of a wheelhouse write TARGET_PYTHON=$(PYTHON))
endif
BIN := .venv/bin
PARALLEL := -n auto --dist loadfile
PRODUCT := --ignore tests/benchmarks --ignore tests/packaging
PIP := $(BIN)/python -m pip --disable-pip-version-check install -q

.DEFAULT_GOAL := help
.PHONY: help export-int8 test test-fast test-bench test-wheel test-system test-lowest lint bench bench-compare bench-peers bench-pi soak soak-fleet fuzz demo image homeassistant dist wheelhouse release deb apt-repo dashboard drift events ledger lock clean

help:  ## List the targets
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

export-int8: .venv/.train  ## Export to float32, float16 and int8 TFLite and compare with Keras (FIRESEG_DIR=, MODEL=)
	@$(BIN)/fireseg-export all

test: .venv/.dev  ## Run all tests of the product (FIRESEG_DIR= adds those on real data)
	$(BIN)/python -m pytest $(PARALLEL) $(PRODUCT)

test-fast: .venv/.dev  ## Run the tests without training, conversion or external programs
	$(BIN)/python -m pytest $(PARALLEL) $(PRODUCT) -m "not slow"

test-bench: .venv/.dev  ## Run the tests of the benchmarks
	$(BIN)/python -m pytest $(PARALLEL) tests/benchmarks

test-wheel: .venv/.dev build/release/.installed  ## Install the wheel with the newest dependencies elsewhere and try its commands (downloads them)
	$(BIN)/python -m pytest tests/packaging -m "not system"

test-system: .venv/.dev  ## Install the Debian package and the container in whole systems, as root (needs podman, debootstrap, systemd-container, qemu-user-static)
	$(BIN)/python -m pytest tests/packaging -m system $(ARGS)

test-lowest: build/lowest/.installed  ## Run the quick tests of fireseg-edge with the lowest dependencies that it allows
	build/lowest/bin/python -m pytest $(PARALLEL) tests/edge -m "not slow" $(ARGS)

lint: .venv/.dev  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: .venv/.bench  ## Measure the latency of models and detection and save it as this machine's baseline (MODEL= another .tflite)
	$(BIN)/python -m pytest benchmarks/test_latency.py $(if $(MODEL),,benchmarks/test_detection.py) --benchmark-only --benchmark-autosave --benchmark-columns=median,iqr,min,rounds

bench-compare: .venv/.bench  ## Measure again and fail if a model or the detection became slower than the baseline
	@$(BIN)/python -m benchmarks.compare

bench-peers: .venv/.train  ## Compare other runtimes on the shipped network, latency and IoU (FIRESEG_DIR=, MODEL= a .keras)
	@$(BIN)/python -m benchmarks.peers

bench-pi: .venv/.train  ## Count instructions on an emulated Pi 4 and Pi 5 and compare masks (as root; FIRESEG_DIR=)
	@$(BIN)/python -m benchmarks.pi $(ARGS)

soak: .venv/.dev  ## Run the camera loop for twenty minutes under load and faults (needs mosquitto and cc; as root for a full disk)
	@$(BIN)/python -m benchmarks.soak $(ARGS)

soak-fleet: .venv/.dev  ## Run 50 simulated cameras for ten minutes and kill broker and cameras (needs mosquitto and prometheus)
	@$(BIN)/python -m benchmarks.fleet $(ARGS)

fuzz: .venv/.dev  ## Give damaged models, pictures, streams and files to the edge for five minutes (ARGS="--minutes 1 --only models")
	@$(BIN)/python -m benchmarks.fuzz $(ARGS)

demo: .venv/.bench  ## Segment the test pattern, or VIDEO=, into build/demo.mp4 (MODEL= another .tflite)
	@$(BIN)/python -c 'from edge.cli import run; run()' run --model "$${MODEL:-base}" \
	  --source "$${VIDEO:-test-pattern}" --replay every-frame $(if $(VIDEO),,--max-frames 200) --record build/demo.mp4
	@echo "build/demo.mp4 shows the predicted fire"

image: .venv/bin/python  ## Build the container image fireseg-edge (BASE= another Debian image, ARGS= more flags for podman)
	@PYTHON=$(BIN)/python deploy/container/collect.sh image
	podman build --format docker $(if $(BASE),--build-arg "BASE=$(BASE)") --build-arg "BUILD_VERSION=$$(basename build/image/*.whl | cut -d - -f 2)" \
	  -t localhost/fireseg-edge $(ARGS) build/image

homeassistant: .venv/bin/python  ## Collect the Home Assistant app in build/homeassistant
	@PYTHON=$(BIN)/python deploy/container/collect.sh homeassistant
	@echo "build/homeassistant is an app repository; its folder fireseg_edge is a local app"

dist: build/release/.installed  ## Build wheel and source archive into dist/, the same bytes from the same commit
	@PYTHON=build/release/bin/python release/build.sh dist

wheelhouse: dist  ## Collect all wheels for a machine without a network (DEBIAN=trixie|bookworm ARCH=aarch64|x86_64 TARGET_PYTHON=)
	@build/release/bin/python -m release.wheelhouse $(if $(ARCH),--arch "$(ARCH)") $(if $(DEBIAN),--debian "$(DEBIAN)") \
	  $(if $(TARGET_PYTHON),--python "$(TARGET_PYTHON)") "$$(ls -t dist/*.whl | head -1)"

release: build/release/.installed  ## Make a release in dist/: wheel, source archive, SBOM, Debian packages, checksums
	@release/release.sh

dashboard: build/dashboard/.installed  ## Build Grafana's dashboard of a fleet again: deploy/fleet/dashboard.json
	@build/dashboard/bin/python deploy/fleet/make_dashboard.py

deb: dist .venv/.bench  ## Build the Debian package in dist/ (ARCH=arm64|amd64 SUITE=trixie|bookworm)
	@$(BIN)/python -m release.debian --wheel "$$(ls -t dist/*.whl | head -1)" --arch $(or $(ARCH),arm64) --suite $(or $(SUITE),trixie) $(ARGS)

apt-repo:  ## Sign dist/*.deb as an apt repository in dist/apt (APT_KEY=, a key of your GnuPG)
	@deploy/debian/repository.sh

drift: .venv/.dev  ## Evaluate the shipped models against their floats and add the result to the ledger (FIRESEG_DIR=)
	$(BIN)/python -m pytest benchmarks/test_iou_drift.py --show-capture=no $(ARGS)

events: .venv/.dev  ## Score the shipped models' alarms on recordings and add the result to the ledger (EVENTS_DIR= a folder with events.csv)
	$(BIN)/python -m pytest benchmarks/test_events.py --show-capture=no $(ARGS)

ledger: .venv/.train  ## Plot the shipped models' measurements over time
	@$(BIN)/python -m benchmarks.ledger

lock: .venv/.dev  ## Pin every dependency again, from pyproject.toml
	$(PIP) uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --extra dev pyproject.toml -o requirements/dev.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --extra train pyproject.toml -o requirements/train.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --extra bench -c requirements/dev.lock pyproject.toml -o requirements/bench.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header --extra update -c requirements/dev.lock pyproject.toml -o requirements/edge.lock
	$(BIN)/uv pip compile -q --resolution lowest-direct --python-version 3.11 --generate-hashes --no-header --extra bench pyproject.toml requirements/lowest.in -o requirements/lowest.lock
	$(BIN)/uv pip compile -q --python-version 3.11 --generate-hashes --no-header requirements/tflite-runtime.in -o requirements/tflite-runtime.lock
	$(BIN)/uv pip compile -q --no-build --universal --python-version 3.11 --generate-hashes --no-header -c requirements/dev.lock requirements/peers/litert.in -o requirements/peers/litert.lock
	$(BIN)/uv pip compile -q --no-build --python-version 3.11 --generate-hashes --no-header -c requirements/dev.lock requirements/peers/keras.in -o requirements/peers/keras.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header -c requirements/dev.lock requirements/release.in -o requirements/release.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-header requirements/dashboard.in -o requirements/dashboard.lock
	for peer in onnxruntime openvino ncnn opencv; do $(BIN)/uv pip compile -q --no-build --universal --python-version 3.11 --generate-hashes --no-header requirements/peers/$$peer.in -o requirements/peers/$$peer.lock || exit 1; done
	$(BIN)/uv pip compile -q --no-deps --universal --python-version 3.11 --generate-hashes --no-header requirements/peers/pnnx.in -o requirements/peers/pnnx.lock

clean:  ## Remove build/, dist/ and .venv; runs/ and data/ stay
	rm -rf build dist .venv

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info[:2] <= (3, 13) else "error: this is Python %d.%d, expected 3.11 to 3.13: run make with PYTHON=python3.11" % sys.version_info[:2])'
	@$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

# The versions equal those of dev.lock, so installing it into a full environment changes nothing.
.venv/.bench: requirements/bench.lock pyproject.toml | .venv/bin/python
	@$(PIP) --require-hashes -r requirements/bench.lock
	@touch $@

.venv/.train: requirements/train.lock pyproject.toml | .venv/bin/python
	@echo "installing TensorFlow into .venv (about 700 MB, once)"
	@$(PIP) --require-hashes -r requirements/train.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

.venv/.dev: requirements/dev.lock pyproject.toml | .venv/bin/python
	@echo "installing TensorFlow, JAX and the test tools into .venv (about 900 MB, once)"
	@$(PIP) --require-hashes -r requirements/dev.lock
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch .venv/.train .venv/.bench $@

build/dashboard/.installed: requirements/dashboard.lock
	@rm -rf build/dashboard
	@$(PYTHON) -m venv build/dashboard
	@build/dashboard/bin/python -m pip --disable-pip-version-check install -q --require-hashes -r requirements/dashboard.lock
	@touch $@

# With Python 3.11, the oldest: newer ones have no wheels of the lowest versions.
build/lowest/.installed: requirements/lowest.lock
	@command -v python3.11 >/dev/null || { echo "error: python3.11 is missing: install it, or run make test"; exit 1; }
	@rm -rf build/lowest
	@python3.11 -m venv build/lowest
	@build/lowest/bin/python -m pip --disable-pip-version-check install -q --require-hashes -r requirements/lowest.lock
	@touch $@

build/release/.installed: requirements/release.lock
	@rm -rf build/release
	@$(PYTHON) -m venv build/release
	@build/release/bin/python -m pip --disable-pip-version-check install -q --require-hashes -r requirements/release.lock
	@touch $@
