#!/usr/bin/env bash
# The providers' own client libraries against the fake provider: what it speaks is their format, and not ours alone.
set -euo pipefail
cd "$(dirname "$0")"
root=../../..
if [ ! -x .venv/bin/python ]; then
  python3 -m venv .venv 2>/dev/null || { apt-get update -qq && apt-get install -y -qq python3-venv && python3 -m venv .venv; }
fi
if ! cmp -s requirements.txt .venv/installed; then
  .venv/bin/pip install --quiet --disable-pip-version-check -r requirements.txt
  cp requirements.txt .venv/installed
fi
[ -d node_modules/openai ] || npm ci --silent --no-fund --no-audit
log=$(mktemp)
"$root/target/debug/sre-fake-provider" >"$log" & server=$!
trap 'kill "$server" 2>/dev/null; wait "$server" 2>/dev/null || true; rm -f "$log"' EXIT
for _ in $(seq 100); do
  [ -s "$log" ] && break
  sleep 0.1
done
FAKE=$(head -1 "$log")
export FAKE
timeout 300 .venv/bin/python clients.py
timeout 300 node clients.mjs
