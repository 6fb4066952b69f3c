#!/usr/bin/env bash
# Serves the sample: builds it where that is missing. Arguments are those of main.go.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
"$here/setup.sh"
exec "$here/.build/ledger" "$@"
