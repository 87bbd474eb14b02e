# Everything is installed into .venv, at the exact versions in requirements/. Nothing outside this folder is touched.

# Python 3.11 if there is one that runs (a version manager's stub may not), else python3.
PYTHON ?= $(shell python3.11 -c '' 2> /dev/null && echo python3.11 || echo python3)
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# What the C++ extension is built from.
KERNELS := CMakeLists.txt $(wildcard backends/sim/kernels/*)
CPP := $(wildcard backends/sim/kernels/*.[ch]pp tests/kernels/*.[ch]pp)
# The lock already holds the dependencies of everything in it. Lava would refuse Python 3.11 and later.
LOCKED := install --no-deps --no-build-isolation --ignore-requires-python --require-hashes
UV_VERSION := 0.13.9

DEMO_CHECKPOINT := examples/kjv_shakespeare/checkpoint.pt
DEMO_PROMPT := And the LORD said unto Moses,

, := ,

unexport PYTHONPATH PYTHONHOME

.DEFAULT_GOAL := help
.PHONY: help install demo bench test test-unit test-all audit sanitize x86-64 arm64 lava-pythons lint format wheel lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: .venv/.runtime ## Install bispik and what it needs to run into .venv

demo: install ## Compile the example checkpoint to Loihi 2 and run it on Lava
	$(BIN)/bispik-compile $(DEMO_CHECKPOINT) --target loihi2 -o build/demo --run lava --prompt "$(DEMO_PROMPT)" \
		--temperature 0.7 --top-k 40

bench: .venv/.dev ## Measure simulator and compiler: half an hour, on an idle machine; ONLY=NAME one part, SIZE=125M one network
	OMP_NUM_THREADS=1 $(BIN)/python -m benchmarks $(ONLY:%=--only %) $(SIZE:%=--size %)

test: lint test-unit ## Lint, and run the tests that take seconds

test-unit: .venv/.dev ## Run the tests that take seconds
	$(BIN)/pytest -m "not slow"

test-all: lint sanitize audit ## Lint, and run every test
	$(BIN)/pytest

audit: .venv/.dev ## Look for known vulnerabilities and unfit licences of what is locked; says what no network could answer
	$(BIN)/python .ci/supply_chain.py licences
	$(BIN)/python .ci/supply_chain.py audit

# $(call kernels_test,NAME,CMAKE OPTIONS,COMMAND): build the kernels' stand-alone test in build/kernels/NAME and run it.
define kernels_test
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake -G Ninja -S . -B build/kernels/$(1) --log-level=WARNING \
		-DBISPIK_TESTS=ON -DBISPIK_STRICT=ON $(2)
	PATH="$(CURDIR)/$(BIN):$$PATH" cmake --build build/kernels/$(1) -- --quiet
	$(3)
endef

# The tiles of AMX are imitated there: few processors have any.
SANITIZED := -DBISPIK_IMITATED_TILES=ON -DCMAKE_CXX_FLAGS="-D_GLIBCXX_ASSERTIONS -fno-omit-frame-pointer
# Older thread sanitizers do not start where addresses are very random.
FIXED_ADDRESSES := $(shell setarch -R true 2> /dev/null && echo setarch -R)

sanitize: .venv/.dev ## Test the kernels alone: as built for use, with address, undefined-behaviour and thread sanitizers
	$(call kernels_test,release,-DCMAKE_BUILD_TYPE=Release,build/kernels/release/kernels_test 1000)
	.ci/check_objects build/kernels/release
	$(call kernels_test,address,-DCMAKE_BUILD_TYPE=RelWithDebInfo $(SANITIZED) -fsanitize=address$(,)undefined -fno-sanitize-recover=all",\
		build/kernels/address/kernels_test 300)
	$(call kernels_test,thread,-DCMAKE_BUILD_TYPE=None $(SANITIZED) -g -O1 -fsanitize=thread",$(FIXED_ADDRESSES) build/kernels/thread/kernels_test 100)

# One processor without AVX and one without AVX-512.
ifneq ($(shell command -v qemu-x86_64),)
x86-64: .venv/.dev ## Test the kernels for older x86-64 processors in an emulator, if QEMU is installed
	$(call kernels_test,release,-DCMAKE_BUILD_TYPE=Release,qemu-x86_64 -cpu Nehalem build/kernels/release/kernels_test 20)
	qemu-x86_64 -cpu Haswell build/kernels/release/kernels_test 20
else
x86-64:
	@echo "skipped: no qemu-x86_64 (Debian: apt-get install qemu-user)"
endif

ARM64 := aarch64-linux-gnu
QEMU := qemu-aarch64 -L /usr/$(ARM64)

# Debian and Ubuntu: apt-get install g++-aarch64-linux-gnu qemu-user. The second processor has no dot products.
ifneq ($(and $(shell command -v $(ARM64)-g++),$(shell command -v qemu-aarch64)),)
arm64: .venv/.dev ## Test the kernels for ARM64 in an emulator, if its compiler and QEMU are installed
	$(call kernels_test,arm64,-DCMAKE_BUILD_TYPE=Release -DCMAKE_SYSTEM_NAME=Linux -DCMAKE_SYSTEM_PROCESSOR=aarch64 \
		-DCMAKE_CXX_COMPILER=$(ARM64)-g++,$(QEMU) -cpu max build/kernels/arm64/kernels_test 100)
	$(QEMU) -cpu cortex-a53 build/kernels/arm64/kernels_test 20
	NM=$(ARM64)-nm .ci/check_objects build/kernels/arm64
else
arm64:
	@echo "skipped: no $(ARM64)-g++ or no qemu-aarch64 (Debian: apt-get install g++-$(ARM64) qemu-user)"
endif

lava-pythons: .venv/.dev ## Run Lava's own unit tests under our shim on each Python that there is, NumPy 1.26 to 2.4
	$(BIN)/python -m tests.lavas_own_tests

lint: .venv/.dev ## Check style, types and the direction of imports
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/clang-format --dry-run --Werror $(CPP)
	$(BIN)/mypy
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --project pyproject.toml
	$(BIN)/lint-imports

format: .venv/.dev ## Put the code into its standard form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format
	$(BIN)/clang-format -i $(CPP)

# The wheel is built from the source package, so that both are known to be whole.
wheel: .venv/.dev ## Build a source package and a wheel into dist/, and run the wheel in an environment of its own
	rm -rf dist build/wheel
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python .ci/wheel.py

# Keeps the versions that are locked as far as it can; `make lock UPGRADE=--upgrade` takes the newest.
lock: .venv/.created ## Write requirements/*.txt from pyproject.toml and requirements/*.in
	$(PIP) install uv==$(UV_VERSION)
	$(call compile,dev.txt,--extra dev requirements/dev.in)
	$(call compile,runtime.txt,--constraint requirements/dev.txt)

# $(call compile,FILE,OPTIONS): one lock file for every supported Python. uv's settings are in pyproject.toml.
compile = $(BIN)/uv pip compile --quiet --universal --python-version 3.10 --no-python-downloads --generate-hashes \
	--no-emit-package torch --custom-compile-command "make lock" $(UPGRADE) $(2) \
	pyproject.toml requirements/runtime.in -o requirements/$(1)

clean: ## Remove .venv and everything else that was made here
	rm -rf .venv build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Each stamp is as new as the last installation that it stands for.
.venv/.created:
	$(PYTHON) -m venv --clear .venv
	touch $@

.venv/.libraries: .venv/.created requirements/runtime.txt requirements/torch.txt
	$(PIP) $(LOCKED) -r requirements/runtime.txt
	$(PIP) install -r requirements/torch.txt
	touch $@

# CMake and Ninja are those of .venv: the only thing that is needed from outside is a C++ compiler.
.venv/.runtime: .venv/.libraries pyproject.toml $(KERNELS)
	PATH="$(CURDIR)/$(BIN):$$PATH" $(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

.venv/.dev: .venv/.runtime requirements/dev.txt
	$(PIP) $(LOCKED) -r requirements/dev.txt
	touch $@
