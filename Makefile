# One command each; the same ones run in CI (.ci/run). CONTRIBUTING.md tells what they are for.
#
# The first `make` of a kind builds its environment: .venv with the first Python that fits, and for
# `make test` one more for each other Python of VERSIONS that this machine has.

VERSIONS = 3.11 3.12 3.13
PYTHON  := $(firstword $(shell tools/find-python $(VERSIONS)))
PYTHONS := $(shell tools/find-python $(VERSIONS))
OTHERS  := $(patsubst %,.venv-%/.done,$(foreach python,$(filter-out $(PYTHON),$(PYTHONS)),\
             $(shell $(python) -c 'import sys; print("%d.%d" % sys.version_info[:2])')))
# Many tests wait for a process or a client, so twice as many at once as there are cores.
WORKERS := $(shell echo $$((2 * $$(getconf _NPROCESSORS_ONLN))))
# What takes long because of other programs or the disk, whatever the Python: on the first one only.
ONCE     = tests/browser tests/crash tests/docs tests/soak tests/test_demo.py \
           tests/interop/test_next_hops.py tests/relay/test_postgres.py \
           tests/relay/test_sqlite_durability.py
BIN      = .venv/bin
ARGS    ?=

.PHONY: run environments demo test interop-clients postgres mailman-tests mailpit-clients chromium \
        browser-tests screenshots cpython-tests smtpd-faults check cov fuzz soak crash crash-cluster \
        bench bench-catch bench-relay docs clean

environments: .venv/.done $(OTHERS)  ## all that `make test` needs; with -j at the same time

run: .venv/.done  ## catch mail on 127.0.0.1:1025 and show it
	@$(BIN)/pillarbox catch $(ARGS)

demo: .venv/.done  ## the same, filled with all kinds of mail
	@$(BIN)/python tools/demo.py $(ARGS)

test: .venv/.done $(OTHERS)  ## all tests, on every Python found
	@set -e; once=; interop=all; for env in .venv $(OTHERS:/.done=); do \
	    echo "== $$($$env/bin/python --version)"; \
	    PILLARBOX_INTEROP=$$interop $$env/bin/python -m pytest -q -n $(WORKERS) --dist worksteal $$once $(ARGS); \
	    once="$(addprefix --ignore=,$(ONCE))"; interop=tls; \
	done

interop-clients: .venv/.done  ## install the mail clients that the tests send with
	@$(BIN)/python tools/interop-clients.py

postgres: .venv/.done  ## install the PostgreSQL that the tests of the shared spool start
	@$(BIN)/python tools/postgres.py

mailpit-clients: .venv/.done  ## Mailpit's clients from PyPI and npm, on our API
	@$(BIN)/python tools/mailpit-clients.py $(ARGS)

chromium: .venv/.done  ## install the browser that the tests of the page drive
	@$(BIN)/python tools/chromium.py

browser-tests: chromium  ## the tests of the page alone
	@$(BIN)/python -m pytest -q tests/browser $(ARGS)

screenshots: .venv/.done  ## take the pictures of docs/images anew
	@$(BIN)/python tools/screenshots.py $(ARGS)

mailman-tests: .venv/.done  ## both Mailman front ends before a real GNU Mailman 3
	@$(BIN)/python tools/mailman.py $(ARGS)

cpython-tests: .venv/.done $(OTHERS)  ## CPython's own tests of smtpd and smtplib, on our smtpd
	@$(BIN)/python tools/cpython-tests.py .venv $(OTHERS:/.done=) $(ARGS)

smtpd-faults: .venv/.done  ## the tests of mended faults have to fail on Python 3.11's own smtpd
	SMTPD_UNDER_TEST=stdlib $(BIN)/python -m pytest -q tests/smtpd $(ARGS)

check: .venv/.done  ## format, lint, types, import directions
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py tests/test_exports.py

cov: .venv/.done  ## branch coverage of protocol/, each module by its own test file
	@$(BIN)/python tools/cov.py $(ARGS)

fuzz: .venv/.done  ## the properties of the protocol, for a long time
	HYPOTHESIS_PROFILE=long $(BIN)/python -m pytest -q --timeout=3600 tests/fuzz $(ARGS)

soak: .venv/.done  ## thousands of clients that misbehave, for some minutes: --seconds, --seed
	@$(BIN)/python -m tests.soak $(ARGS)

crash-cluster: .venv/.done  ## the same with three nodes on a PostgreSQL that is killed as well: --messages, --nodes
	@$(BIN)/python -m tests.crash.cluster $(ARGS)

crash: .venv/.done  ## kill the relay a hundred times, and see what it promised: --messages, --seed
	@$(BIN)/python -m tests.crash $(ARGS)

bench: .venv/.done  ## CPU and memory beside aiosmtpd and Postfix's smtp-sink
	@$(BIN)/python -m bench $(ARGS)

bench-catch: .venv/.done  ## the catcher: mail in, search, start, memory and push, against their goals
	@$(BIN)/python -m bench.catch $(ARGS)

bench-relay: .venv/.done  ## the relay beside a tuned Postfix, against its goals
	@$(BIN)/python -m bench.relay $(ARGS)

docs: .venv/.done  ## run every example of README and docs
	$(BIN)/python -m pytest -q tests/docs $(ARGS)

clean:  ## remove environments and caches
	rm -rf .venv .venv-* .bench .interop .mailman .hypothesis .mypy_cache .pytest_cache .ruff_cache

define make_env
	@test -n "$(1)" || { echo "make: no Python of $(VERSIONS) found; install one of them" >&2; exit 2; }
	@echo "making $(@D) with $(1)"
	@$(1) -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@
endef

.venv/.done: pyproject.toml
	$(call make_env,$(PYTHON))

.venv-%/.done: pyproject.toml
	$(call make_env,$(shell tools/find-python $*))
