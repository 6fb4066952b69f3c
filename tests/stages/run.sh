#!/usr/bin/env bash
# Runs every stage and prints the minutes of each. A stage that fails ends the run.
set -euo pipefail
cd "$(dirname "$0")/../.."
export SRE_CONFORMANCE="${SRE_CONFORMANCE:-$(cd .. && pwd)/shared/conformance}"
summary=()
started=$SECONDS

stage() {
  local name=$1; shift
  echo "=== $name"
  local from=$SECONDS
  if ! "$@"; then
    printf '%s\n' "${summary[@]}" "$name: FAILED after $(minutes $((SECONDS - from)))"
    exit 1
  fi
  summary+=("$name: $(minutes $((SECONDS - from)))")
}
minutes() { printf '%d:%02d min' $(($1 / 60)) $(($1 % 60)); }

# One cluster for all stages: tests make schemas of their own in it, and find it by SRE_TEST_POSTGRES.
source tests/stages/postgres.sh
cluster=$(mktemp -d)
trap 'pg_stop "$cluster" 2>/dev/null || true; rm -rf "$cluster"' EXIT

# The same selection of packages in both: another one would build dependencies again with other features.
stage "postgres"     pg_start "$cluster"
stage "build"        cargo build --locked --workspace --all-targets
stage "tests"        cargo test --locked --workspace
stage "conformance"  tests/stages/conformance.sh
stage "chaos"        ./target/debug/chaos small
stage "clients"      tests/clients/run.sh
stage "canary"       tests/stages/canary.sh
stage "lint"         make --no-print-directory lint

echo
printf '%s\n' "${summary[@]}" "all: $(minutes $((SECONDS - started)))"
