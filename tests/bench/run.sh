#!/usr/bin/env bash
# Builds in release and measures. BENCH_SECONDS sets the length of one measurement.
set -euo pipefail
cd "$(dirname "$0")/../.."
cargo build --locked --release -p sre
cargo bench --locked -p sre-tests --bench speed --profile release
