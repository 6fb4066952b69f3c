#!/usr/bin/env bash
# Builds the sample with the Go toolchain (1.19 or later), generating the stubs from proto/ with the compiler that
# comes with Python's grpcio-tools.
set -euo pipefail
cd "$(dirname "$0")"
tools=$PWD/.build
if ! command -v go >/dev/null; then
  apt-get update -qq && apt-get install -y -qq --no-install-recommends golang-go
fi
export GOBIN=$tools GOFLAGS=-mod=mod GOTOOLCHAIN=local
[ -x "$tools/protoc-gen-go" ] || go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.31.0
[ -x "$tools/protoc-gen-go-grpc" ] || go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.3.0
proto=../../../proto/sre/component/v1/component.proto
if [ ! -e contract/component.pb.go ] || [ "$proto" -nt contract/component.pb.go ]; then
  ../python/setup.sh
  mkdir -p contract
  PATH=$tools:$PATH ../python/.venv/bin/python -m grpc_tools.protoc -I ../../../proto/sre/component/v1 \
    --go_out=contract --go_opt=paths=source_relative --go_opt=Mcomponent.proto=ledger/contract \
    --go-grpc_out=contract --go-grpc_opt=paths=source_relative --go-grpc_opt=Mcomponent.proto=ledger/contract \
    component.proto
fi
if [ ! -x "$tools/ledger" ] || [ -n "$(find . -name '*.go' -newer "$tools/ledger")" ]; then
  go mod tidy
  go build -o "$tools/ledger" .
fi
