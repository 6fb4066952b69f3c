#!/usr/bin/env bash
# Throw-away servers of Azure Blob Storage (Azurite, Microsoft's own emulator) for tests, on free loopback ports. The one
# account and its key are those that its documentation names.
#
#   tests/stages/azurite.sh start DIR          starts a server in DIR (made when missing), prints its variable
#   tests/stages/azurite.sh stop DIR           ends it; a start goes on with its containers, on its port
#   tests/stages/azurite.sh crash DIR          ends it as a power cut would
#   tests/stages/azurite.sh pause|resume DIR   holds it: connections open, nothing answers
#
# The variable: SRE_TEST_AZURITE (a URL, http). Sourced, it gives the functions azurite_start, azurite_stop.
source "$(dirname "${BASH_SOURCE[0]}")/processes.sh"
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

azurite_packages='azurite@3.37.0'

# It knows fewer versions of the protocol than clients speak.
azurite_launch() {
  process_launch "$1" node "$packages_tools/node/azurite/node_modules/azurite/dist/src/blob/main.js" \
    --blobHost 127.0.0.1 --blobPort "$2" --location "$1/data" --skipApiVersionCheck --disableTelemetry --silent
}
azurite_answers() { process_listens "$2"; }

azurite_start() {
  local dir
  packages_node azurite $azurite_packages && mkdir -p "$1" && dir=$(cd "$1" && pwd) || return 1
  process_serve "$dir" azurite_launch azurite_answers || return 1
  echo "export SRE_TEST_AZURITE=http://127.0.0.1:$(<"$dir/port")" >"$dir/variables"
}
azurite_stop() { process_stop "$1"; }

azurite_main() {
  set -euo pipefail
  [ "$#" -eq 2 ] || { sed -n '2,/^source/s/^# \?//p' "$0" >&2; return 2; }
  case "$1" in
    start) azurite_start "$2" && cat "$2/variables" ;;
    stop) azurite_stop "$2" ;;
    crash) process_stop "$2" KILL ;;
    pause) process_signal "$2" STOP ;;
    resume) process_signal "$2" CONT ;;
    *) azurite_main ;;
  esac
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then azurite_main "$@"; fi
