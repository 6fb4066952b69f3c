#!/usr/bin/env bash
# Prometheus for tests: Debian's package is installed where there is none; its own service is not started. A test
# starts it by itself, on what it is to scrape.
#
#   tests/stages/prometheus.sh start DIR        installs it, prints its variable
#
# The variable: SRE_TEST_PROMETHEUS (the program). `promtool` lies beside it.
# Sourced, it gives the function prometheus_start.
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

prometheus_start() {
  mkdir -p "$1" && packages_command prometheus prometheus || return 1
  echo "export SRE_TEST_PROMETHEUS=$(command -v prometheus)" >"$1/variables"
}

prometheus_main() {
  set -euo pipefail
  [ "$#" -eq 2 ] && [ "$1" = start ] || { sed -n '2,/^source/s/^# \?//p' "$0" | sed '$d' >&2; return 2; }
  prometheus_start "$2" && cat "$2/variables"
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then prometheus_main "$@"; fi
