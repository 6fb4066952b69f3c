#!/usr/bin/env bash
# Throw-away servers of PostgreSQL with pgvector (PGlite: the real server and extension, built for WebAssembly) for tests,
# on free loopback ports. All connections share one session, so that transactions take turns.
#
#   tests/stages/pgvector.sh start DIR          starts a server in DIR (made when missing), prints its variable
#   tests/stages/pgvector.sh stop DIR           ends it; a start goes on with its tables, on its port
#   tests/stages/pgvector.sh crash DIR          ends it as a power cut would
#   tests/stages/pgvector.sh pause|resume DIR   holds it: connections open, nothing answers
#
# The variable: SRE_TEST_PGVECTOR (a URL). Sourced, it gives the functions pgvector_start, pgvector_stop.
source "$(dirname "${BASH_SOURCE[0]}")/processes.sh"
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

pgvector_packages='@electric-sql/pglite@0.5.14 @electric-sql/pglite-socket@0.2.17 @electric-sql/pglite-pgvector@0.0.15'

pgvector_launch() {
  process_launch "$1" node "$packages_tools/node/pgvector/node_modules/@electric-sql/pglite-socket/dist/scripts/server.js" \
    --host 127.0.0.1 --port "$2" --db "$1/data" --max-connections 64 --extensions @electric-sql/pglite-pgvector:vector
}
pgvector_answers() { process_listens "$2"; }

pgvector_start() {
  local dir
  packages_node pgvector $pgvector_packages && mkdir -p "$1" && dir=$(cd "$1" && pwd) || return 1
  process_serve "$dir" pgvector_launch pgvector_answers || return 1
  echo "export SRE_TEST_PGVECTOR=postgres://postgres:postgres@127.0.0.1:$(<"$dir/port")/postgres" >"$dir/variables"
}
pgvector_stop() { process_stop "$1"; }

pgvector_main() {
  set -euo pipefail
  [ "$#" -eq 2 ] || { sed -n '2,/^source/s/^# \?//p' "$0" >&2; return 2; }
  case "$1" in
    start) pgvector_start "$2" && cat "$2/variables" ;;
    stop) pgvector_stop "$2" ;;
    crash) process_stop "$2" KILL ;;
    pause) process_signal "$2" STOP ;;
    resume) process_signal "$2" CONT ;;
    *) pgvector_main ;;
  esac
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then pgvector_main "$@"; fi
