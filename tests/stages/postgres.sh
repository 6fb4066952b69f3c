#!/usr/bin/env bash
# Throw-away PostgreSQL clusters for tests, on a free loopback port, with fsync on. Debian's package is
# installed where there is no server; its own cluster is neither made nor started.
#
#   tests/stages/postgres.sh start DIR       starts a cluster in DIR (made when missing), prints its URL
#   tests/stages/postgres.sh url DIR         prints the URL
#   tests/stages/postgres.sh stop DIR        stops it in order; `start DIR` continues with its data, on its port
#   tests/stages/postgres.sh crash DIR       stops it immediately, as a power cut would
#   tests/stages/postgres.sh restart DIR     crash, then start: comes back by recovery, on its port
#   tests/stages/postgres.sh pause|resume DIR holds all its processes: connections are open, nothing answers
#   tests/stages/postgres.sh run COMMAND..   runs COMMAND with SRE_TEST_POSTGRES set to a cluster that goes after it
#
# Sourced, it gives the functions pg_start, pg_url, pg_stop, pg_crash, pg_restart; pg_start exports
# SRE_TEST_POSTGRES. DIR must be reachable for others (mode x) when root calls: the server runs as `postgres`.

source "$(dirname "${BASH_SOURCE[0]}")/processes.sh"
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

# The folder of the newest server's programs; empty where there is none.
pg_bin() {
  local newest
  newest=$(printf '%s\n' /usr/lib/postgresql/*/bin/postgres | sort -V | tail -n 1)
  if [ -x "$newest" ]; then dirname "$newest"; return; fi
  if command -v initdb >/dev/null && command -v pg_ctl >/dev/null; then dirname "$(readlink -f "$(command -v pg_ctl)")"; fi
}

pg_install() {
  [ -z "$(pg_bin)" ] || return 0
  packages_apt postgresql-common &&
    # No cluster of the package's own, so that nothing listens because of us.
    sed -i 's/^#\?create_main_cluster *=.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf &&
    packages_apt postgresql || return 1
  [ -n "$(pg_bin)" ] || { echo "the package postgresql brought no server" >&2; return 1; }
}

# Runs a command as the cluster's owner: the server refuses root.
pg_as_owner() {
  if [ "$(id -u)" -ne 0 ]; then "$@"; return; fi
  setpriv --reuid=postgres --regid=postgres --init-groups -- "$@"
}

pg_init() {
  local dir=$1 bin
  bin=$(pg_bin)
  mkdir -p "$dir" || return 1
  if [ "$(id -u)" -eq 0 ]; then
    getent passwd postgres >/dev/null || useradd --system --home-dir / --shell /usr/sbin/nologin postgres || return 1
    chmod a+x "$dir"
    install -d -o postgres -g postgres -m 700 "$dir/pg" || return 1
  else
    install -d -m 700 "$dir/pg" || return 1
  fi
  if ! (cd / && pg_as_owner test -w "$dir/pg"); then
    echo "$dir cannot be reached by the user postgres: choose a folder below one with mode 755" >&2
    return 1
  fi
  (
    cd / && umask 077
    head -c 18 /dev/urandom | base64 | tr '+/' '__' | pg_as_owner tee "$dir/pg/password" >/dev/null &&
      pg_as_owner "$bin/initdb" --pgdata="$dir/pg/data" --username=sre --pwfile="$dir/pg/password" \
        --auth=scram-sha-256 --encoding=UTF8 --locale=C --no-instructions >"$dir/initdb.log" 2>&1
  ) || { cat "$dir/initdb.log" >&2; return 1; }
}

# Loopback TCP alone: a socket file would need a folder that everybody may write to. The port lies below those
# that the system hands out, so that the cluster finds it free when it comes back.
pg_launch() {
  local dir=$1 port=$2 options
  options="-c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories= -c fsync=on"
  options+=" -c max_connections=200 -c max_wal_size=4GB"
  (cd / && pg_as_owner "$(pg_bin)/pg_ctl" start --pgdata="$dir/pg/data" --log="$dir/pg/log" --wait --timeout=60 \
    --silent --options="$options") </dev/null >/dev/null 2>&1
}

pg_running() {
  (cd / && pg_as_owner "$(pg_bin)/pg_ctl" status --pgdata="$1/pg/data" >/dev/null 2>&1)
}

pg_start() {
  local dir port tries
  pg_install || return 1
  mkdir -p "$1" && dir=$(cd "$1" && pwd) || return 1
  (cd / && pg_as_owner test -e "$dir/pg/data/PG_VERSION") || pg_init "$dir" || return 1
  if ! pg_running "$dir"; then
    for tries in 1 2 3 4 5 6 7 8; do
      if [ -e "$dir/port" ]; then port=$(<"$dir/port"); else port=$(process_port) || return 1; fi
      if pg_launch "$dir" "$port"; then break; fi
      if [ -e "$dir/port" ] || [ "$tries" -eq 8 ]; then
        echo "the cluster in $dir does not start:" >&2
        (cd / && pg_as_owner tail -n 20 "$dir/pg/log") >&2
        return 1
      fi
    done
    echo "$port" >"$dir/port"
  fi
  SRE_TEST_POSTGRES=$(pg_url "$dir") || return 1
  export SRE_TEST_POSTGRES
}

pg_url() {
  local dir password
  dir=$(cd "$1" && pwd) || return 1
  password=$(cd / && pg_as_owner cat "$dir/pg/password") || return 1
  echo "postgres://sre:$password@127.0.0.1:$(<"$dir/port")/postgres"
}

pg_halt() {
  local dir
  dir=$(cd "$1" && pwd) || return 1
  (cd / && pg_as_owner "$(pg_bin)/pg_ctl" stop --pgdata="$dir/pg/data" --mode="$2" --wait --timeout=60 --silent)
}

# `fast` ends sessions and writes a checkpoint; `immediate` ends the processes, so that a start recovers.
pg_stop() { pg_halt "$1" fast; }
pg_crash() { pg_halt "$1" immediate; }
pg_restart() { pg_crash "$1" && pg_start "$1"; }

# Its main process and those that serve connections.
pg_signal() {
  local dir main
  dir=$(cd "$1" && pwd) && main=$(cd / && pg_as_owner head -n 1 "$dir/pg/data/postmaster.pid") || return 1
  # Processes that end meanwhile need no signal.
  { echo "$main"; cat "/proc/$main/task/$main/children"; } | xargs kill -s "$2" 2>/dev/null || true
}

pg_main() {
  set -euo pipefail
  local command=${1:-}
  case "$command" in
    start) pg_start "$2" && echo "$SRE_TEST_POSTGRES" ;;
    url) pg_url "$2" ;;
    stop) pg_stop "$2" ;;
    crash) pg_crash "$2" ;;
    pause) pg_signal "$2" STOP ;;
    resume) pg_signal "$2" CONT ;;
    restart) pg_restart "$2" && echo "$SRE_TEST_POSTGRES" ;;
    run)
      shift
      PG_RUN_DIR=$(mktemp -d)
      trap 'pg_stop "$PG_RUN_DIR" || true; rm -rf "$PG_RUN_DIR"' EXIT
      pg_start "$PG_RUN_DIR"
      "$@"
      ;;
    *) sed -n '2,/^$/s/^# \?//p' "$0" >&2; return 2 ;;
  esac
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then pg_main "$@"; fi
