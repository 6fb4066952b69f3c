#!/usr/bin/env bash
# Serves the sample: builds it where that is missing. Arguments are those of main.rs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
(cd "$root" && cargo build --quiet -p sre-component-sample)
exec "$root/target/debug/sre-component-sample" "$@"
