#!/usr/bin/env bash
# Formatting, clippy, contracts, dependencies.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo fmt --all -- --check
cargo clippy --locked --workspace --all-targets -- -D warnings
(cd proto && ../.tools/node_modules/.bin/buf lint)
.tools/bin/cargo-deny check --hide-inclusion-graph licenses bans sources
# The advisory database is a remote repository: where it cannot be reached, say so and go on.
if timeout 60 .tools/bin/cargo-deny fetch db >/dev/null 2>&1; then
  .tools/bin/cargo-deny check --disable-fetch advisories
else
  echo "skipped: advisories (the advisory database cannot be reached from here)"
fi
