#!/usr/bin/env bash
# A throw-away OpenID Connect provider (oidc-provider from npm) for tests, on a free loopback port. See
# oidc_server.mjs for its clients, and for how its keys are rotated.
#
#   tests/stages/oidc.sh start DIR   starts it in DIR (made when missing), prints its variable
#   tests/stages/oidc.sh stop DIR    ends it
#
# The variable: SRE_TEST_OIDC (its URL, which is the issuer). Sourced, it gives the functions oidc_start, oidc_stop.
source "$(dirname "${BASH_SOURCE[0]}")/processes.sh"
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

OIDC_VERSION=9.5.2

oidc_launch() {
  process_launch "$1" node "$packages_root/tests/stages/oidc_server.mjs" "$2" "$packages_tools/node/oidc/node_modules"
}
oidc_answers() { process_listens "$2"; }

oidc_start() {
  local dir
  packages_command node nodejs && packages_node oidc "oidc-provider@$OIDC_VERSION" || return 1
  mkdir -p "$1" && dir=$(cd "$1" && pwd) || return 1
  process_serve "$dir" oidc_launch oidc_answers || return 1
  echo "export SRE_TEST_OIDC=http://127.0.0.1:$(<"$dir/port")" >"$dir/variables"
}
oidc_stop() { process_stop "$1"; }

oidc_main() {
  set -euo pipefail
  [ "$#" -eq 2 ] || { sed -n '2,/^source/s/^# \?//p' "$0" >&2; return 2; }
  case "$1" in
    start) oidc_start "$2" && cat "$2/variables" ;;
    stop) oidc_stop "$2" ;;
    *) oidc_main ;;
  esac
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then oidc_main "$@"; fi
