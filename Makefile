# memwhy. `make` alone is help.
SHELL := /bin/bash
BIN   := bin/memwhy
export CGO_ENABLED ?= 0
export GOFLAGS ?= -buildvcs=false

.DEFAULT_GOAL := help
.PHONY: help build demo generate test test-vm kernels accuracy software lint bench schema clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/memwhy, static and stripped
	go build -trimpath -ldflags '-s -w' -o $(BIN) ./cmd/memwhy

demo: build ## from a fresh clone to an answer about a real container-like cgroup
	@scripts/demo $(BIN)

test: ## everything: unit, property, fuzz smoke, cross build, live kernel (as root), kernel matrix
	@scripts/test

test-vm: ## every lab on kernels 5.10 to 7.2 in emulated machines; KERNEL=6.12 or KERNEL=5.10-v1 for one
	@scripts/test-vm -v

generate: ## the embedded BPF object anew, by clang 14
	@scripts/generate

kernels: ## write docs/kernels.md and the captures of every lab on every kernel anew
	@scripts/test-vm -v -args -update
	go test ./internal/wire -update

accuracy: build ## which cause is named where which was planted, over all kept captures: docs/accuracy.md
	cd e2e && MEMWHY_BIN=$(CURDIR)/$(BIN) go test -count=1 ./accuracy -update && cat ../docs/accuracy.md

software: build ## real software in cgroups, once more, and the captures of it anew (root, cgroup v1)
	cd e2e && MEMWHY_SOFTWARE=required MEMWHY_BIN=$(CURDIR)/$(BIN) go test -count=1 ./software -update

lint: ## gofumpt, go vet, staticcheck, errorlint; nothing may be left
	@scripts/lint

bench: ## ratios against the bare loop and opencontainers/cgroups (root, cgroup v1)
	@scripts/bench

schema: ## write docs/*.schema.json anew from internal/report
	go test ./internal/report -run TestSchema -update

clean: ## remove what was built
	rm -rf bin
