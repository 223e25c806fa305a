# The doors of the house. `make` alone says which there are.
.DEFAULT_GOAL := help
SHELL := /bin/bash
TOOL  := go tool -modfile=tools/go.mod

# How long each fuzz target and each benchmark runs, and how often a benchmark is repeated.
FUZZTIME  ?= 30s
BENCHTIME ?= 1s
COUNT     ?= 6
BENCH     ?= .

.PHONY: help
help: ## what there is to run
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-9s %s\n", $$1, $$2}'

.PHONY: fmt
fmt: ## format the code and group its imports
	$(TOOL) golangci-lint fmt ./...

.PHONY: lint
lint: ## vet, the linters of .golangci.yml, and the house's own rules
	go vet ./...
	$(TOOL) golangci-lint run ./...
	go test -count=1 .

.PHONY: test
test: ## all tests, with the race detector
	go test -race ./...

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (30s)
	@.ci/fuzz $(FUZZTIME)

.PHONY: bench
bench: ## what the mesh costs, each figure beside a peer of the same run; fails when an allocation ceiling is broken
	@cd internal/interop && go run ./bench $(BENCHFLAGS)

.PHONY: bench-all
bench-all: ## every benchmark, as a table (BENCH=regexp COUNT=6 BENCHTIME=1s)
	@mkdir -p out
	go test -run '^$$' -bench '$(BENCH)' -benchmem -benchtime $(BENCHTIME) -count $(COUNT) ./... | tee out/bench.txt
	$(TOOL) benchstat out/bench.txt

.PHONY: interop
interop: ## real peers: Envoy, grpc-go's xds client, go-control-plane, grpc-js, Redis (installed on the first run)
	@. .ci/peers && go test -count=1 -tags envoy -run RealEnvoy ./resolver/xds/wire && cd internal/interop && go test -count=1 -v ./... 2>&1 | grep -vE '^=== '

.PHONY: vuln
vuln: ## known vulnerabilities in what we import (VULNDB=file:///... for a copy on disk)
	$(TOOL) govulncheck $(if $(VULNDB),-db $(VULNDB)) ./...

.PHONY: shop
shop: ## the showpiece: a shop of real processes on loopback
	go run ./examples/shop

.PHONY: failure
failure: ## what becomes of callers when a backend is slow, failing, hung, killed or overloaded, without and with policies
	go run ./examples/failure

.PHONY: identity
identity: ## from plaintext to strict mTLS, a root replaced, a policy tightened, an identity revoked: without a failed call
	go run ./examples/identity

.PHONY: load
load: ## what the policies are worth under load, beside plain clients and Envoy sidecars (LOADFLAGS="--only faults --for 30s")
	@. .ci/peers && cd internal/interop && go run ./load $(LOADFLAGS)

.PHONY: ci
ci: ## all that a change must pass
	.ci/run
