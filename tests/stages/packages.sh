# Sourced: installs what a test server needs, once. Python and Node packages go below .tools, pinned.

packages_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
packages_tools=$packages_root/.tools

# One installation of a kind at a time, since servers start side by side.
packages_lock() {
  mkdir -p "$packages_tools" || return 1
  exec {packages_held}>"$packages_tools/$1.lock" && flock "$packages_held"
}

# packages_apt PACKAGE..: no package starts a service meanwhile.
packages_apt() {
  if [ "$(id -u)" -ne 0 ]; then
    echo "install Debian's package $*" >&2
    return 1
  fi
  (
    packages_lock apt || exit 1
    export DEBIAN_FRONTEND=noninteractive
    # Asked before each start of a service; ours says no. One that an administrator keeps stays.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
      trap 'rm -f "$policy"' EXIT
      printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"
    fi
    apt-get -qq update && apt-get -qq install --yes --no-install-recommends "$@"
  ) >&2 || { echo "Debian's package $* could not be installed: see the messages above" >&2; return 1; }
}

# packages_command COMMAND PACKAGE..: Debian's packages where the command is missing.
packages_command() {
  ! command -v "$1" >/dev/null || return 0
  packages_apt "${@:2}" && hash -r
  command -v "$1" >/dev/null || { echo "no $1 here" >&2; return 1; }
}

# packages_python NAME: the virtual environment .tools/python/NAME with what tests/stages/NAME.txt pins. The copy of
# the pins is written last, so that one that was interrupted is not taken for complete.
packages_python() {
  local name=$1 place=$packages_tools/python/$1 pins=$packages_root/tests/stages/$1.txt
  ! cmp -s "$pins" "$place/pins.txt" || return 0
  (
    packages_lock "python-$name" || exit 1
    ! cmp -s "$pins" "$place/pins.txt" || exit 0
    rm -rf "$place"
    python3 -m venv "$place" 2>/dev/null ||
      { rm -rf "$place" && packages_apt python3 python3-venv && python3 -m venv "$place"; } || exit 1
    "$place/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --requirement "$pins" &&
      cp "$pins" "$place/pins.txt"
  ) >&2 || { echo "the Python packages of $name could not be installed: see the messages above" >&2; return 1; }
}

# packages_node NAME PACKAGE@VERSION..: into .tools/node/NAME.
packages_node() {
  local name=$1 place=$packages_tools/node/$1
  shift
  [ "$(cat "$place/pins" 2>/dev/null)" != "$*" ] || return 0
  packages_command npm nodejs npm || return 1
  (
    packages_lock "node-$name" || exit 1
    [ "$(cat "$place/pins" 2>/dev/null)" != "$*" ] || exit 0
    rm -rf "$place" && mkdir -p "$place" &&
      npm install --silent --no-fund --no-audit --ignore-scripts --prefix "$place" "$@" &&
      echo "$*" >"$place/pins"
  ) >&2 || { echo "the Node packages of $name could not be installed: see the messages above" >&2; return 1; }
}
