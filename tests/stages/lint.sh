#!/usr/bin/env bash
# Formatting, clippy, component docs, contracts, dependencies.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo fmt --all -- --check
cargo clippy --locked --workspace --all-targets -- -D warnings
# Every component type has its descriptions, an example, a test, and a page that is current.
# The selection of packages of the stage `build`: another one would build all of them again with other features.
cargo build --locked -q --workspace --all-targets
./target/debug/sre docs components --check
(cd proto && ../.tools/node_modules/.bin/buf lint)
.tools/bin/cargo-deny check --hide-inclusion-graph licenses bans sources
# The advisory database is a remote repository: where it cannot be reached, say so and go on.
if timeout 60 .tools/bin/cargo-deny fetch db >/dev/null 2>&1; then
  .tools/bin/cargo-deny check --disable-fetch advisories
else
  echo "skipped: advisories (the advisory database cannot be reached from here)"
fi
