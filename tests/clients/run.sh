#!/usr/bin/env bash
# Clients in other languages against a running suite, and those of providers against the fake one.
set -euo pipefail
cd "$(dirname "$0")/../.."
tests/clients/setup.sh
data=target/kept/clients
rm -rf "$data" && mkdir -p "$data"
timeout 300 ./target/debug/sre --data-dir "$data" up --agent examples >"$data/sre.log" 2>&1 & suite=$!
trap 'kill "$suite" 2>/dev/null; wait "$suite" 2>/dev/null || true' EXIT
for _ in $(seq 300); do
  [ -e "$data/run/ready" ] && break
  kill -0 "$suite" 2>/dev/null || { cat "$data/sre.log"; exit 1; }
  sleep 0.1
done
export SRE_ADDRESS="localhost:$(sed -nE 's/^edge = ".*:([0-9]+)"$/\1/p' "$data/run/endpoints.toml")"
export SRE_CERT="$data/certs/user/dev.pem" SRE_KEY="$data/certs/user/dev.key" SRE_CA="$data/certs/ca.pem"
PYTHONPATH=tests/clients/.venv/stubs tests/clients/.venv/bin/python tests/clients/python/client.py
node tests/clients/node/client.mjs
tests/clients/providers/run.sh
