#!/usr/bin/env bash
# Installs the client libraries from PyPI and npm and generates the Python stubs from proto/.
set -euo pipefail
cd "$(dirname "$0")"
if [ ! -x .venv/bin/python ]; then
  python3 -m venv .venv 2>/dev/null || { apt-get update -qq && apt-get install -y -qq python3-venv && python3 -m venv .venv; }
fi
.venv/bin/python -c 'import grpc, grpc_tools, grpc_status' 2>/dev/null ||
  .venv/bin/pip install --quiet --disable-pip-version-check grpcio grpcio-tools grpcio-status
rm -rf .venv/stubs && mkdir -p .venv/stubs
(cd ../../proto && find sre -name '*.proto' -print0 | xargs -0 \
  ../tests/clients/.venv/bin/python -m grpc_tools.protoc -I . --python_out=../tests/clients/.venv/stubs --grpc_python_out=../tests/clients/.venv/stubs)
[ -d node/node_modules/@grpc/grpc-js ] ||
  npm install --silent --no-fund --no-audit --prefix node
