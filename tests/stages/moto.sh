#!/usr/bin/env bash
# Throw-away servers of S3 and Secrets Manager (moto) for tests, on free loopback ports. Any key is let in.
#
#   tests/stages/moto.sh start DIR          starts a server in DIR (made when missing), prints its variable
#   tests/stages/moto.sh stop DIR           ends it; a start goes on with its buckets and secrets, on its port
#   tests/stages/moto.sh crash DIR          ends it as a power cut would
#   tests/stages/moto.sh pause|resume DIR   holds it: connections open, nothing answers
#
# The variable: SRE_TEST_MOTO (a URL, http). Sourced, it gives the functions moto_start, moto_stop.
source "$(dirname "${BASH_SOURCE[0]}")/processes.sh"
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

moto_launch() {
  process_launch "$1" "$packages_tools/python/moto/bin/python" "$packages_root/tests/stages/moto_server.py" "$2" "$1/requests"
}
moto_answers() { process_listens "$2"; }

moto_start() {
  local dir
  packages_python moto && mkdir -p "$1" && dir=$(cd "$1" && pwd) || return 1
  process_serve "$dir" moto_launch moto_answers || return 1
  echo "export SRE_TEST_MOTO=http://127.0.0.1:$(<"$dir/port")" >"$dir/variables"
}
moto_stop() { process_stop "$1"; }

moto_main() {
  set -euo pipefail
  [ "$#" -eq 2 ] || { sed -n '2,/^source/s/^# \?//p' "$0" >&2; return 2; }
  case "$1" in
    start) moto_start "$2" && cat "$2/variables" ;;
    stop) moto_stop "$2" ;;
    crash) process_stop "$2" KILL ;;
    pause) process_signal "$2" STOP ;;
    resume) process_signal "$2" CONT ;;
    *) moto_main ;;
  esac
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then moto_main "$@"; fi
