#!/usr/bin/env bash
# Builds in release and measures. BENCH_SECONDS sets the length of one measurement, BENCH_ONLY the chapters.
set -euo pipefail
cd "$(dirname "$0")/../.."

# One build of both: apart they would choose different features, and build nearly everything twice.
built=$(mktemp)
trap 'rm -f "$built"' EXIT
cargo build --locked --release -p sre -p sre-tests --bin sre --bench speed --message-format=json-render-diagnostics >"$built"
speed=$(python3 - "$built" <<'PY'
import json, sys

for line in open(sys.argv[1]):
    made = json.loads(line)
    if made["reason"] == "compiler-artifact" and made["target"]["name"] == "speed":
        print(made["executable"])
PY
)
"$speed" --bench
