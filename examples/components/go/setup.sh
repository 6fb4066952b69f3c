#!/usr/bin/env bash
# Builds the sample with Go 1.19 or later, generating the stubs from proto/ with the compiler that comes with Python's
# grpcio-tools. The libraries are Debian's where they are installed, or can be; else Go's module proxy has them.
set -euo pipefail
cd "$(dirname "$0")"
tools=$PWD/.build
debian=/usr/share/gocode/src/google.golang.org/grpc
if ! command -v go >/dev/null || [ ! -d "$debian" ]; then
  if command -v apt-get >/dev/null; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends golang-go golang-google-grpc-dev \
      golang-github-golang-protobuf-1-5-dev \
      golang-google-protobuf-dev protoc-gen-go protoc-gen-go-grpc
  fi
fi
mkdir -p "$tools"
if [ -d "$debian" ]; then
  # Debian's libraries are in a GOPATH; the sample is linked into one beside it.
  mkdir -p "$tools/gopath/src" && ln -sfn "$PWD" "$tools/gopath/src/ledger"
  export GO111MODULE=off GOPATH=$tools/gopath:/usr/share/gocode
  where=$tools/gopath/src/ledger
else
  export GOBIN=$tools GOFLAGS=-mod=mod
  [ -x "$tools/protoc-gen-go" ] || go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.31.0
  [ -x "$tools/protoc-gen-go-grpc" ] || go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.3.0
  where=$PWD
fi
proto=../../../proto/sre/component/v1/component.proto
if [ ! -e contract/component.pb.go ] || [ "$proto" -nt contract/component.pb.go ]; then
  ../python/setup.sh
  mkdir -p contract
  PATH=$tools:$PATH ../python/.venv/bin/python -m grpc_tools.protoc -I ../../../proto/sre/component/v1 \
    --go_out=contract --go_opt=paths=source_relative --go_opt=Mcomponent.proto=ledger/contract \
    --go-grpc_out=contract --go-grpc_opt=paths=source_relative --go-grpc_opt=Mcomponent.proto=ledger/contract \
    component.proto
fi
if [ ! -x "$tools/ledger" ] || [ -n "$(find . -name '*.go' -not -path './.build/*' -newer "$tools/ledger")" ]; then
  cd "$where"
  [ -d "$debian" ] || go mod tidy
  go build -o "$tools/ledger" .
fi
