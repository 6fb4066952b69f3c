# `make run` and `make test` do all set-up on a fresh Debian 12 with Rust, Node, Python and gcc.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

TOOLS := .tools
BUF := $(TOOLS)/node_modules/.bin/buf
BUF_VERSION := 1.75.0
DENY := $(TOOLS)/bin/cargo-deny
DENY_VERSION := 0.20.2
AGENT ?= examples/greeter.smyth
SKILL ?= greet
ARGS ?= name=World

.PHONY: help run test lint bench chaos fuzz authz stubs certs images clean build descriptor fmt

help: ## what there is
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: build ## the suite in one process on embedded stores, running a skill (AGENT=file SKILL=name ARGS='k=v')
	exec ./target/debug/sre up --agent "$(AGENT)" --skill "$(SKILL)" -- $(ARGS)

build: ## the binary, dev profile
	cargo build --locked -p sre

test: ## everything that CI checks, stage by stage with its minutes
	tests/stages/run.sh

lint: $(BUF) $(DENY) ## formatting, clippy, contracts, dependencies
	tests/stages/lint.sh

bench: ## speed and memory, side by side in one run
	tests/bench/run.sh

chaos: ## kills processes of a suite at work: nothing may be lost or repeated (CHAOS_RUNS, CHAOS_SECONDS shorten it)
	cargo build --locked -p sre -p sre-tests --bin sre --bin chaos
	./target/debug/chaos

fuzz: ## the parsers and the run loop against random input, FUZZ_SECONDS=30 each
	tests/fuzz/run.sh

authz: build ## the authorization matrix as a table: every method, what it asks for, who passes
	./target/debug/sre authz matrix

stubs: ## clients for Python and Node from proto/, into tests/clients
	tests/clients/setup.sh

certs: build ## a certificate authority and certificates for a deployment, into ./certs
	./target/debug/sre certs init --out certs

images: ## the container image (needs a container builder)
	deploy/image.sh

descriptor: ## take over the contracts' descriptor set after a change
	cargo run --locked -q -p sre-proto --example descriptor > shared/proto/descriptor.bin

fmt: ## format the sources
	cargo fmt --all

clean: ## what builds made, not what a suite stored
	cargo clean
	rm -rf $(TOOLS) tests/clients/.venv tests/clients/node/node_modules
	rm -rf tests/clients/providers/.venv tests/clients/providers/node_modules
	rm -rf examples/components/{python/.venv,typescript/node_modules,go/.build,go/contract}

$(BUF):
	mkdir -p $(TOOLS)
	npm install --silent --no-fund --no-audit --prefix $(TOOLS) @bufbuild/buf@$(BUF_VERSION)

# A tool run once a day: built without optimisation of its own, which halves its build time.
$(DENY):
	CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
	  cargo install cargo-deny --version $(DENY_VERSION) --locked --quiet --root $(TOOLS)
