# Every target works from a clean clone on Debian 12: what is missing is installed first.
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help
SCENARIO ?= default
READY := .venv/.ready-lab
CONTROLLER := .venv/.ready-controller
SETUP := molecule/shared/setup.sh
LAB = PYTHONPATH=molecule/shared PYTHONDONTWRITEBYTECODE=1 /usr/bin/python3 -m lab

export MAKECMDGOALS

.PHONY: help setup controller lab lab-down test lint unit molecule soak bench package usb release format lock clean

help: ## Show this list
	@echo "make lab is where to begin. All there is (V=1 shows the output of each step as it comes):"
	@awk -F ':.*## ' '/^[a-z-]*:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

setup: $(READY) ## Install what is missing: Debian packages, .venv with locked versions
	@echo "setup: all there"

controller: $(CONTROLLER) ## Install only what deploying a school from this machine takes
	@files/build-package schoolserver >/dev/null
	@echo "controller: ready; go on with: . .venv/bin/activate"

$(READY): requirements.lock molecule/shared/machine.packages $(SETUP)
	@$(SETUP) lab

$(CONTROLLER): requirements.lock molecule/shared/machine.packages $(SETUP)
	@$(SETUP) controller

lab: $(READY) ## Two hosts, a school server and a laptop, and a document there and back; the hosts stay up
	@$(LAB) lab $(or $(NAME),lab)

lab-down: ## Take the hosts away again, whatever started them (IMAGES=1: their images as well)
	@if command -v podman >/dev/null; then $(LAB) lab-down $(NAME) $(if $(IMAGES),--images); \
	else echo "no podman, so no hosts"; fi

test: $(READY) ## All tests: lint, unit, every molecule scenario, the journey
	@$(LAB) all --journey '$(MAKE) lab NAME=test' --away '$(MAKE) lab-down NAME=test'

lint: $(READY) ## All linters; none may warn
	@$(LAB) lint

unit: $(READY) ## The tests that need no host, with a coverage figure
	@$(LAB) unit

molecule: $(READY) ## One scenario on fresh hosts (SCENARIO=default; KEEP=1 lets its hosts stand)
	@$(LAB) molecule $(SCENARIO) $(if $(KEEP),--keep)

soak: $(READY) ## What must hold for hours
	@$(LAB) soak
	@XS_POWER_CUTS=30 $(LAB) molecule updates

bench: $(READY) ## What it costs: time, disk, memory
	@$(LAB) bench

package: $(CONTROLLER) ## Build our packages into build/
	@files/build-package schoolserver
	@files/build-package xo-client

release: $(CONTROLLER) ## Commit, tag and build a release from a clean main (VERSION=0.1.0)
	@files/make-release "$(VERSION)"

usb: $(CONTROLLER) ## A stick that installs laptops (SCHOOL=inventory/myschool TO=/media/stick)
	@test -e "$(SCHOOL)" || { echo "usb: SCHOOL=$(SCHOOL) is no inventory; name yours: SCHOOL=inventory/myschool" >&2; exit 2; }
	@test -d "$(TO)" || { echo "usb: TO=$(TO) is no directory; mount the stick and name it: TO=/media/stick" >&2; exit 2; }
	@.venv/bin/ansible-playbook --inventory "$(SCHOOL)" playbooks/prepare_usb.yml --extra-vars '{"to": "$(abspath $(TO))"}' \
		$(if $(SERVER),--limit "$(SERVER)")

format: $(READY) ## Put the Python code into shape
	@.venv/bin/ruff check --fix --quiet; .venv/bin/ruff format

lock: ## Write requirements.lock anew from requirements.in (needs uv)
	@uv pip compile --quiet --upgrade --python /usr/bin/python3 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --no-header requirements.in --output-file requirements.lock

clean: lab-down ## Take the hosts away, and all that was built
	@rm -rf build .venv
