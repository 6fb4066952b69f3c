#!/usr/bin/env bash
# Serves the sample: makes its environment and the stubs where they are missing. Arguments are those of server.py.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
"$here/setup.sh"
exec "$here/.venv/bin/python" "$here/server.py" "$@"
