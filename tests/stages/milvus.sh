#!/usr/bin/env bash
# Throw-away servers of Milvus Lite for tests, on free loopback ports, without a password.
#
#   tests/stages/milvus.sh start DIR          starts a server in DIR (made when missing), prints its variable
#   tests/stages/milvus.sh stop DIR           ends it; a start goes on with its collections, on its port
#   tests/stages/milvus.sh crash DIR          ends it as a power cut would
#   tests/stages/milvus.sh pause|resume DIR   holds it: connections open, nothing answers
#
# The variable: SRE_TEST_MILVUS (a URL, http: gRPC without TLS). Sourced, it gives the functions milvus_start, milvus_stop.
source "$(dirname "${BASH_SOURCE[0]}")/processes.sh"
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

milvus_launch() {
  process_launch "$1" "$packages_tools/python/milvus/bin/milvus-lite" server --host 127.0.0.1 --port "$2" --data-dir "$1/data"
}
milvus_answers() { process_listens "$2"; }

milvus_start() {
  local dir
  packages_python milvus && mkdir -p "$1" && dir=$(cd "$1" && pwd) || return 1
  process_serve "$dir" milvus_launch milvus_answers || return 1
  echo "export SRE_TEST_MILVUS=http://127.0.0.1:$(<"$dir/port")" >"$dir/variables"
}
milvus_stop() { process_stop "$1"; }

milvus_main() {
  set -euo pipefail
  [ "$#" -eq 2 ] || { sed -n '2,/^source/s/^# \?//p' "$0" >&2; return 2; }
  case "$1" in
    start) milvus_start "$2" && cat "$2/variables" ;;
    stop) milvus_stop "$2" ;;
    crash) process_stop "$2" KILL ;;
    pause) process_signal "$2" STOP ;;
    resume) process_signal "$2" CONT ;;
    *) milvus_main ;;
  esac
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then milvus_main "$@"; fi
