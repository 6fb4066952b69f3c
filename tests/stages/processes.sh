# Sourced: processes that a script starts in the background, waits for, and ends by their id. Each has a folder;
# `pid` in it holds the process's id and start time, so that a number that the system gave away again is left alone.

# A free-looking port of loopback below those that the system hands out, so that a server finds it free when it
# comes back. Each is given out once a day: of two servers that start side by side on one port, the slower one would
# be taken for there because the faster one answers.
process_port() {
  local taken="${TMPDIR:-/tmp}/sre-test-ports-$UID" port tries
  mkdir -p "$taken" || return 1
  find "$taken" -mindepth 1 -mmin +1440 -delete 2>/dev/null || true
  for tries in {1..200}; do
    port=$((20000 + (RANDOM * 32768 + RANDOM) % 12000))
    if mkdir "$taken/$port" 2>/dev/null; then echo "$port"; return 0; fi
  done
  echo "no port is left in $taken" >&2
  return 1
}

# When the process with this id started, in clock ticks since boot; empty where there is none.
process_started() { sed -E 's/^.*\) ([^ ]+ ){19}([0-9]+) .*$/\2/' "/proc/$1/stat" 2>/dev/null || true; }

# process_launch DIR COMMAND..: starts it, detached from this shell's input and output, which goes to DIR/log.
process_launch() {
  local dir=$1 pid
  shift
  mkdir -p "$dir" || return 1
  (cd "$dir" && exec "$@") </dev/null >>"$dir/log" 2>&1 6>&- 7>&- 8>&- 9>&- &
  pid=$!
  disown "$pid" 2>/dev/null || true
  echo "$pid $(process_started "$pid")" >"$dir/pid"
}

process_running() {
  local pid started
  [ -e "$1/pid" ] || return 1
  read -r pid started <"$1/pid"
  [ -n "$started" ] && [ "$(process_started "$pid")" = "$started" ]
}

# Servers start beside a compilation that has all cores.
process_starts_within=300

# process_wait DIR COMMAND..: until COMMAND succeeds, or until the process ends, or the time is over.
process_wait() {
  local dir=$1 until=$((SECONDS + process_starts_within))
  shift
  until "$@" >/dev/null 2>&1; do
    process_running "$dir" || return 1
    if [ "$SECONDS" -ge "$until" ]; then
      echo "the server in $dir does not answer within $process_starts_within s" >&2
      return 1
    fi
    sleep 0.1
  done
  process_running "$dir"
}

process_listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# process_signal DIR SIGNAL: to a process that still is the one that was started.
process_signal() { ! process_running "$1" || kill -s "$2" "$(cut -d ' ' -f 1 "$1/pid")"; }

# process_stop DIR [SIGNAL]: TERM or SIGNAL, and KILL after 20 s.
process_stop() {
  local dir=$1 until=$((SECONDS + 20))
  process_signal "$dir" "${2:-TERM}" 2>/dev/null || true
  # One that was held with STOP hears the signal only now.
  process_signal "$dir" CONT 2>/dev/null || true
  while process_running "$dir"; do
    if [ "$SECONDS" -ge "$until" ]; then process_signal "$dir" KILL 2>/dev/null || true; fi
    sleep 0.05
  done
  rm -f "$dir/pid"
}

# process_serve DIR LAUNCH ANSWERS: calls `LAUNCH DIR PORT` until `ANSWERS DIR PORT` succeeds, on the port in
# DIR/port where a start before this one chose it, otherwise on up to eight others.
process_serve() {
  local dir=$1 launch=$2 answers=$3 port tries
  if process_running "$dir"; then return 0; fi
  for tries in 1 2 3 4 5 6 7 8; do
    if [ -e "$dir/port" ]; then port=$(<"$dir/port"); else port=$(process_port) || return 1; fi
    # Somebody else's server would answer in place of one that cannot listen.
    if [ -e "$dir/port" ] || ! process_listens "$port"; then
      "$launch" "$dir" "$port" || return 1
      if process_wait "$dir" "$answers" "$dir" "$port"; then
        echo "$port" >"$dir/port"
        return 0
      fi
      process_stop "$dir"
      if [ -e "$dir/port" ]; then break; fi
    fi
  done
  echo "the server in $dir does not start:" >&2
  tail -n 20 "$dir/log" >&2
  return 1
}

# random_password: fit for a URL.
random_password() { head -c 18 /dev/urandom | base64 | tr '+/' '__'; }
