#!/usr/bin/env bash
# The sample of a connector out of process (examples/connectors/python) for tests, on a Unix socket of its own.
#
#   tests/stages/connector.sh start DIR     starts it in DIR (made when missing), prints its variables
#   tests/stages/connector.sh stop DIR      ends it; a start goes on with what it keeps
#
# The variables: SRE_TEST_CONNECTOR (an endpoint, unix:/path; each instance id is a store of its own) and
# SRE_TEST_CONNECTOR_PYTHON (its interpreter, for tests that start one themselves). Sourced, it gives the functions
# connector_start, connector_stop.
source "$(dirname "${BASH_SOURCE[0]}")/processes.sh"
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"
connector_sample=$packages_root/examples/connectors/python

connector_start() {
  local dir
  (packages_lock python-connector && "$connector_sample/setup.sh") >&2 || return 1
  mkdir -p "$1" && dir=$(cd "$1" && pwd) || return 1
  if ! process_running "$dir"; then
    rm -f "$dir/socket"
    process_launch "$dir" "$connector_sample/.venv/bin/python" "$connector_sample/server.py" --socket "$dir/socket" \
      --folder "$dir/stores" || return 1
    process_wait "$dir" test -S "$dir/socket" || { tail -n 20 "$dir/log" >&2; return 1; }
  fi
  {
    echo "export SRE_TEST_CONNECTOR=unix:$dir/socket"
    echo "export SRE_TEST_CONNECTOR_PYTHON=$connector_sample/.venv/bin/python"
  } >"$dir/variables"
}
connector_stop() { process_stop "$1"; }

connector_main() {
  set -euo pipefail
  [ "$#" -eq 2 ] || { sed -n '2,/^source/s/^# \?//p' "$0" | sed '$d' >&2; return 2; }
  case "$1" in
    start) connector_start "$2" && cat "$2/variables" ;;
    stop) connector_stop "$2" ;;
    *) connector_main ;;
  esac
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then connector_main "$@"; fi
