#!/usr/bin/env bash
# Installs the sample's packages from npm and compiles it.
set -euo pipefail
cd "$(dirname "$0")"
[ -d node_modules/@grpc/grpc-js ] || npm install --silent --no-fund --no-audit
if [ ! -e node_modules/.built/server.js ] || [ -n "$(find src -newer node_modules/.built/server.js)" ]; then
  node_modules/.bin/tsc
fi
