# demo · test · lint · lab-up · lab-down · campaign · bench; everything else is an implementation detail of these.
.DEFAULT_GOAL := help
VENV := .venv
LAB := $(VENV)/bin/vm-mgr-lab
LAB_TESTS := $(VENV)/bin/pytest -v --durations 25 tests/lab

.PHONY: help man demo test test-all test-lab checks images unit lint lab-up lab-down bench campaign

help: ## show this help
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' Makefile

$(VENV)/.ready: bootstrap pyproject.toml constraints.txt
	./bootstrap

demo: $(VENV)/.ready ## boot a cluster, create a VM, cut its node's power, watch it come back (root)
	$(LAB) demo --storage $(STORAGE)

test: $(VENV)/.ready ## lint, unit, contract, arch and lab tests (root)
	$(MAKE) -j 2 checks images
	$(LAB_TESTS) -n 2 --dist loadfile --no-loadscope-reorder -m "not alone"
	$(LAB_TESTS) -m alone

test-all: ## the same, with all that `test` takes in turns from day to day: kills, variants, scenarios (root)
	VM_MGR_ALL=1 $(MAKE) test

test-lab: $(VENV)/.ready ## one file of lab tests on a lab that stays up, deployed anew; T=migration (root)
	if $(LAB) status >/dev/null 2>&1; then $(LAB) deploy; else $(LAB) up; fi
	VM_MGR_LAB_KEEP=1 $(VENV)/bin/pytest tests/lab/test_$(T).py

checks: # one after the other, beside what only waits for downloads
	$(MAKE) -j 1 lint unit

images: $(VENV)/.ready # and the deployed states, so that no lab of the tests waits for the other one's deployment
	$(LAB) build --suite trixie --suite bookworm
	$(LAB) down
	$(LAB) up && $(LAB) down
	$(LAB) up --nodes 2 --observers 1 --suite bookworm && $(LAB) down

unit: $(VENV)/.ready ## the tests that need neither root nor the lab
	$(VENV)/bin/pytest -n auto --doctest-modules src/vm_mgr tests/unit tests/contract tests/arch

lint: $(VENV)/.ready ## ruff, mypy --strict, import-linter
	$(VENV)/bin/ruff check . && $(VENV)/bin/ruff format --check . && $(VENV)/bin/mypy && $(VENV)/bin/lint-imports

man: $(VENV)/.ready ## write the man pages into build/man
	$(VENV)/bin/python -m vm_mgr.cli.man build/man

lab-up: $(VENV)/.ready ## boot the lab's cluster (root)
	$(LAB) up

lab-down: $(VENV)/.ready ## remove the lab's cluster (root)
	$(LAB) down

N ?= 50
STORAGE ?= ceph
campaign: $(VENV)/.ready ## random faults and operations on the lab that is up; N=300 SEED=7 STORAGE=vms (root)
	$(LAB) campaign --faults $(N) --storage $(STORAGE) $(if $(SEED),--seed $(SEED))

$(VENV)/.bench: $(VENV)/.ready
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	touch $@

bench: $(VENV)/.bench ## measure; BENCH=name for one (root)
	$(VENV)/bin/python -m tests.bench $(BENCH)
