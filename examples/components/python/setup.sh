#!/usr/bin/env bash
# Makes the sample's environment from PyPI and generates the stubs from proto/.
set -euo pipefail
cd "$(dirname "$0")"
if [ ! -x .venv/bin/python ]; then
  python3 -m venv .venv 2>/dev/null || { apt-get update -qq && apt-get install -y -qq python3-venv && python3 -m venv .venv; }
fi
.venv/bin/python -c 'import grpc, grpc_tools, grpc_health' 2>/dev/null ||
  .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
proto=../../../proto/sre/component/v1/component.proto
# A server that runs keeps what it has read; one that starts meanwhile must find whole files.
if [ -e .venv/stubs ] && [ ! "$proto" -nt .venv/stubs ]; then exit 0; fi
fresh=$(mktemp -d .venv/stubs.XXXXXX)
.venv/bin/python -m grpc_tools.protoc -I ../../../proto --python_out="$fresh" --grpc_python_out="$fresh" "$proto"
rm -rf .venv/stubs
mv "$fresh" .venv/stubs
touch .venv/stubs
