# One command for each thing a contributor does. `make help` lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SUDO   := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
# To build: python3-dev, gcc (which brings the sanitizers of `make asan`), libc6-dev. For the
# NetfilterQueue library and the bench's peers: lib*-dev. For gateway, lab and tests: the rest.
APT    := python3-venv python3-dev gcc libc6-dev libnetfilter-queue-dev libnfnetlink-dev libpcap-dev \
          iproute2 iptables nftables conntrack util-linux mount procps \
          dnsmasq-base udhcpc radvd
SOURCES := $(shell find ext classifier -name '*.pyx' -o -name '*.pxd')

.PHONY: help system build test asan lint demo bench clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

# It goes on where it cannot install anything: much works without some of the packages, and what does
# not work without one names it.
system:  ## install the Debian packages that build and tests need, saying which
	@command -v dpkg-query >/dev/null || { \
	  echo "not Debian, so nothing is installed; what is needed is called there: $(APT)"; exit 0; }; \
	missing=$$(for p in $(APT); do \
	  dpkg-query -W -f '$${db:Status-Abbrev}' $$p 2>/dev/null | grep -q '^ii' || echo $$p; done); \
	[ -n "$$missing" ] || exit 0; \
	[ "$$(id -u)" = 0 ] || command -v sudo >/dev/null || { \
	  echo "neither root nor sudo; please have these installed:" $$missing >&2; exit 0; }; \
	echo "installing Debian packages:" $$missing; \
	$(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive \
	  apt-get install -y -qq --no-install-recommends $$missing >/dev/null \
	|| echo "could not install them; going on without" >&2

$(VENV)/.installed: pyproject.toml setup.py $(SOURCES) | system
	@[ -x $(BIN)/pip ] || { echo "making a virtual environment in $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "building and installing nfq-classifier with its test dependencies into $(VENV)"
	@$(BIN)/pip install -q --disable-pip-version-check "setuptools>=77.0.3" "cython>=3.1"
	@$(BIN)/pip install -q --disable-pip-version-check --no-build-isolation -e '.[test,bench,lint]'
	@touch $@

build: $(VENV)/.installed  ## build the compiled modules in place

test: build  ## all tests; those in namespaces need root or user namespaces
	$(BIN)/python -m pytest $(or $(ARGS),-n auto)
	$(if $(ARGS),,$(MAKE) --no-print-directory asan)

# A second copy of the sources, so that the modules in place stay as they are. The tests that read
# bytes from outside run there; PYTHONMALLOC=malloc makes Python's own blocks visible to the sanitizer.
ASAN_TESTS = tests/unit/test_wire.py tests/unit/test_engine.py tests/property/test_any_bytes.py \
             tests/property/test_engine_model.py tests/property/test_tables.py \
             tests/property/test_load_methods.py tests/unit/test_load_meter.py \
             tests/property/test_sticky_eviction.py \
             tests/property/test_saved_sticky.py $(wildcard tests/unit/test_engine_*.py) \
             tests/unit/test_nfnetlink.py $(wildcard tests/gateway/test_queue*.py tests/replay)
ASAN_LIBS  = $(foreach lib,libasan.so libubsan.so,$(shell gcc -print-file-name=$(lib)))
asan: build  ## what reads bytes from outside, under AddressSanitizer and UndefinedBehaviorSanitizer
	@rm -rf build/asan/bench build/asan/ext build/asan/tests && mkdir -p build/asan
	@tar -c --exclude='*.so' --exclude=__pycache__ bench classifier ext tests setup.py pyproject.toml README.md \
	  | tar -x -C build/asan
	@echo "building the compiled modules with sanitizers in build/asan"
	@cd build/asan && CLASSIFIER_SANITIZE=1 ../../$(BIN)/python -W ignore setup.py -q build_ext --inplace -j 2
	@cd build/asan && export LD_PRELOAD="$(ASAN_LIBS)" ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc \
	  && ../../$(BIN)/python -c "import classifier.engine.engine as e; assert 'build/asan' in e.__file__, e" \
	  && ../../$(BIN)/python -m pytest -q -n auto --capture=sys -p no:cacheprovider $(ASAN_TESTS)

lint: build  ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

demo: build  ## a virtual gateway with three uplinks, real flows, a report
	$(BIN)/nfq-classifier lab

bench: build  ## measure against the peers
	$(BIN)/python -m bench $(ARGS)

clean:  ## remove what was built
	rm -rf build $(VENV) $(VENV)-asan *.egg-info
	find classifier -name '*.so' -delete
