#!/usr/bin/env bash
# The servers that tests run against, side by side, on free loopback ports, each with its data in a folder of DIR.
#
#   tests/stages/servers.sh start DIR LIST          installs and starts them, prints the variables that name them
#   tests/stages/servers.sh stop DIR                ends them
#   tests/stages/servers.sh run LIST -- COMMAND..   runs COMMAND with the variables; the servers go after it
#   tests/stages/servers.sh list                    the names
#
# LIST is `all` or names with commas between: see servers_all below and the script of each. For example:
#   tests/stages/servers.sh run redis,moto -- cargo test -p sre-io
#
# Sourced, it gives servers_start DIR LIST (exports the variables) and servers_stop DIR.
stages=$(dirname "${BASH_SOURCE[0]}")
for script in postgres redis moto azurite milvus pgvector oidc connector prometheus mcp; do source "$stages/$script.sh"; done

servers_all='postgres redis redis-tls redis-sentinel moto azurite milvus pgvector oidc connector prometheus mcp'

servers_start_one() {
  local dir=$1/$2
  case "$2" in
    postgres) pg_start "$dir" && echo "export SRE_TEST_POSTGRES=$SRE_TEST_POSTGRES" >"$dir/variables" ;;
    redis) redis_start "$dir" ;;
    redis-tls) redis_tls_start "$dir" ;;
    redis-sentinel) redis_sentinel_start "$dir" ;;
    moto) moto_start "$dir" ;;
    azurite) azurite_start "$dir" ;;
    milvus) milvus_start "$dir" ;;
    pgvector) pgvector_start "$dir" ;;
    oidc) oidc_start "$dir" ;;
    connector) connector_start "$dir" ;;
    prometheus) prometheus_start "$dir" ;;
    mcp) mcp_start "$dir" ;;
    *) echo "no server $2: there are $servers_all" >&2; return 1 ;;
  esac
}

# Side by side. When one does not start, the others are ended.
servers_start() {
  local dir names=$2 name pids=() failed=0
  [ "$names" != all ] || names=$servers_all
  mkdir -p "$1" && chmod a+x "$1" && dir=$(cd "$1" && pwd) || return 1
  for name in ${names//,/ }; do
    servers_start_one "$dir" "$name" & pids+=($!)
  done
  for name in "${pids[@]}"; do wait "$name" || failed=1; done
  if [ "$failed" -ne 0 ]; then servers_stop "$dir"; return 1; fi
  servers_variables "$dir"
}

# Exports what servers_start found, also to a shell that did not call it.
servers_variables() {
  local file
  for file in "$1"/*/variables; do source "$file" || return 1; done
}

servers_stop() {
  local dir=$1 pids=() pid name
  if [ -e "$dir/postgres/port" ]; then pg_stop "$dir/postgres" 2>/dev/null & pids+=($!); fi
  for name in redis redis-tls redis-sentinel; do
    if [ -d "$dir/$name" ]; then redis_stop "$dir/$name" & pids+=($!); fi
  done
  for name in moto azurite milvus pgvector oidc connector; do
    if [ -d "$dir/$name" ]; then process_stop "$dir/$name" & pids+=($!); fi
  done
  if [ -d "$dir/mcp" ]; then mcp_stop "$dir/mcp" & pids+=($!); fi
  for pid in "${pids[@]}"; do wait "$pid" || true; done
}

servers_main() {
  set -euo pipefail
  case "${1:-}" in
    start) servers_start "$2" "$3" && cat "$2"/*/variables ;;
    stop) servers_stop "$2" ;;
    list) echo "$servers_all" ;;
    run)
      [ "${3:-}" = -- ] && [ "$#" -gt 3 ] || { servers_main; return 2; }
      SERVERS_DIR=$(mktemp -d)
      trap 'servers_stop "$SERVERS_DIR" || true; rm -rf "$SERVERS_DIR"' EXIT
      servers_start "$SERVERS_DIR" "$2"
      "${@:4}"
      ;;
    *) sed -n '2,/^stages/s/^# \?//p' "$0" | sed '$d' >&2; return 2 ;;
  esac
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then servers_main "$@"; fi
