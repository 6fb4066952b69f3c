#!/usr/bin/env bash
# Serves the sample: installs and compiles it where that is missing. Arguments are those of server.ts.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
"$here/setup.sh"
exec node "$here/node_modules/.built/server.js" "$@"
