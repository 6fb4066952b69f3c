#!/usr/bin/env bash
# Servers of the Model Context Protocol for tests, on the official SDKs for Python and TypeScript, each on a free
# loopback port. See mcp_server.py and mcp_server.mjs for their tools.
#
#   tests/stages/mcp.sh start DIR   starts both in DIR (made when missing), prints their variables
#   tests/stages/mcp.sh stop DIR    ends them
#
# The variables: SRE_TEST_MCP_PYTHON and SRE_TEST_MCP_NODE (URLs), SRE_TEST_MCP_PYTHON_STDIO and
# SRE_TEST_MCP_NODE_STDIO (commands that serve over their pipes). Sourced, it gives the functions mcp_start, mcp_stop.
source "$(dirname "${BASH_SOURCE[0]}")/processes.sh"
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

MCP_NODE_VERSION=1.32.2

mcp_python() { echo "$packages_tools/python/mcp/bin/python $packages_root/tests/stages/mcp_server.py"; }
mcp_node() { echo "node $packages_root/tests/stages/mcp_server.mjs"; }
mcp_node_packages() { echo "$packages_tools/node/mcp/node_modules"; }

mcp_launch_python() { process_launch "$1" $(mcp_python) "$2"; }
mcp_launch_node() { process_launch "$1" $(mcp_node) "$2" "$(mcp_node_packages)"; }
mcp_answers() { process_listens "$2"; }

mcp_start() {
  local dir
  packages_python mcp || return 1
  packages_command node nodejs && packages_node mcp "@modelcontextprotocol/sdk@$MCP_NODE_VERSION" || return 1
  mkdir -p "$1" && dir=$(cd "$1" && pwd) || return 1
  process_serve "$dir/python" mcp_launch_python mcp_answers || return 1
  process_serve "$dir/node" mcp_launch_node mcp_answers || { process_stop "$dir/python"; return 1; }
  cat >"$dir/variables" <<END
export SRE_TEST_MCP_PYTHON=http://127.0.0.1:$(<"$dir/python/port")
export SRE_TEST_MCP_NODE=http://127.0.0.1:$(<"$dir/node/port")
export SRE_TEST_MCP_PYTHON_STDIO='$(mcp_python) stdio'
export SRE_TEST_MCP_NODE_STDIO='$(mcp_node) stdio $(mcp_node_packages)'
END
}
mcp_stop() { process_stop "$1/python"; process_stop "$1/node"; }

mcp_main() {
  set -euo pipefail
  [ "$#" -eq 2 ] || { sed -n '2,/^source/s/^# \?//p' "$0" >&2; return 2; }
  case "$1" in
    start) mcp_start "$2" && cat "$2/variables" ;;
    stop) mcp_stop "$2" ;;
    *) mcp_main ;;
  esac
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then mcp_main "$@"; fi
