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

# One set of servers for all stages, installed and started beside the build: tests keep apart in them by schemas,
# prefixes, buckets of their own, and find them by SRE_TEST_POSTGRES, SRE_TEST_REDIS and so on.
source tests/stages/servers.sh
source tests/stages/packages.sh
servers=$(mktemp -d)
trap 'end_servers' EXIT
servers_start "$servers" all >"$servers/log" 2>&1 & starting=$!

end_servers() {
  # What is being installed or started is ended once it is known.
  wait "$starting" 2>/dev/null || true
  servers_stop "$servers" || true
  rm -rf "$servers"
}
# Here a server that is missing fails the run: the tests that need it would be skipped unseen.
export SRE_TEST_REQUIRE=1
servers_ready() { wait "$starting" || { cat "$servers/log"; return 1; }; servers_variables "$servers"; }

# Servers write the last of what they hold when they end.
look_for_canary() { servers_stop "$servers" && tests/stages/canary.sh "$servers"; }

# The same selection of packages in both: another one would build dependencies again with other features.
stage "build"        cargo build --locked --workspace --all-targets
stage "servers"      servers_ready
# What the sandbox's process really calls is read from it.
stage "strace"       packages_command strace strace
stage "tests"        cargo test --locked --workspace
stage "conformance"  tests/stages/conformance.sh
stage "chaos"        ./target/debug/chaos small
stage "clients"      tests/clients/run.sh
stage "components"   tests/components/run.sh
stage "canary"       look_for_canary
stage "lint"         make --no-print-directory lint

echo
printf '%s\n' "${summary[@]}" "all: $(minutes $((SECONDS - started)))"
