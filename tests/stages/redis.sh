#!/usr/bin/env bash
# Throw-away Redis servers for tests, on free loopback ports, with a password and an append-only file that is synced
# before each answer. Debian's package is installed where there is no server; its own service is not started.
#
#   tests/stages/redis.sh start DIR             starts a server in DIR (made when missing), prints its variables
#   tests/stages/redis.sh start-tls DIR         one that speaks TLS alone; a client certificate is looked at, not required
#   tests/stages/redis.sh start-sentinel DIR    a primary, a replica and three sentinels, each in a folder of DIR
#   tests/stages/redis.sh stop DIR              ends what was started in DIR; a start goes on with its data, on its ports
#   tests/stages/redis.sh crash DIR             ends it as a power cut would
#   tests/stages/redis.sh pause|resume DIR      holds it: connections open, nothing answers
#
# stop, crash, pause and resume take one server's folder too, such as DIR/primary.
# The variables: SRE_TEST_REDIS (a URL); SRE_TEST_REDIS_TLS (a URL), SRE_TEST_REDIS_CA, SRE_TEST_REDIS_CERT,
# SRE_TEST_REDIS_KEY (files); SRE_TEST_REDIS_SENTINEL (host:port of the sentinels, with commas between),
# SRE_TEST_REDIS_SENTINEL_MASTER (the name they know it by), SRE_TEST_REDIS_SENTINEL_PASSWORD (of primary and replica).
# Sourced, it gives the functions redis_start, redis_tls_start, redis_sentinel_start, redis_stop.
source "$(dirname "${BASH_SOURCE[0]}")/processes.sh"
source "$(dirname "${BASH_SOURCE[0]}")/packages.sh"

redis_install() { packages_command redis-server redis-server && packages_command redis-cli redis-tools; }

# The password of all servers in a folder; made with the first.
redis_password() {
  mkdir -p "$1" || return 1
  [ -s "$1/password" ] || (umask 077 && random_password >"$1/password") || return 1
  cat "$1/password"
}

redis_write_config() {
  local dir=$1 password=$2
  shift 2
  (
    umask 077
    printf '%s\n' 'bind 127.0.0.1' 'protected-mode yes' 'daemonize no' "dir $dir" 'save ""' 'appendonly yes' \
      'appendfsync always' 'maxmemory 256mb' 'maxmemory-policy noeviction' "requirepass $password" \
      "masterauth $password" 'repl-diskless-sync-delay 0' "$@" >"$dir/redis.conf"
  )
}

redis_launch() { process_launch "$1" redis-server "$1/redis.conf" --port "$2"; }
redis_answers() { [ "$(REDISCLI_AUTH=$(<"$1/password") redis-cli -h 127.0.0.1 -p "$2" ping)" = PONG ]; }

redis_start() {
  local dir password
  redis_install && mkdir -p "$1" && dir=$(cd "$1" && pwd) && password=$(redis_password "$dir") || return 1
  redis_write_config "$dir" "$password" && process_serve "$dir" redis_launch redis_answers || return 1
  echo "export SRE_TEST_REDIS=redis://default:$password@127.0.0.1:$(<"$dir/port")" >"$dir/variables"
}

# An authority, a certificate of the server and one of a client, for two days.
redis_certificates() {
  local dir=$1 name
  [ ! -e "$dir/client.pem" ] || return 0
  (
    umask 077
    cd "$dir" || exit 1
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=test authority" \
      -addext "basicConstraints=critical,CA:TRUE" -addext "keyUsage=critical,keyCertSign,cRLSign" \
      -keyout ca.key -out ca.pem || exit 1
    printf '%s\n' 'basicConstraints=critical,CA:FALSE' 'keyUsage=critical,digitalSignature' \
      'extendedKeyUsage=serverAuth,clientAuth' 'subjectAltName=DNS:localhost,IP:127.0.0.1' >extensions
    for name in server client; do
      openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$name" -keyout $name.key -out $name.csr &&
        openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out $name.pem ||
        exit 1
    done
  ) >"$dir/openssl.log" 2>&1 || { cat "$dir/openssl.log" >&2; return 1; }
}

redis_tls_launch() { process_launch "$1" redis-server "$1/redis.conf" --port 0 --tls-port "$2"; }
redis_tls_answers() {
  [ "$(REDISCLI_AUTH=$(<"$1/password") redis-cli -h 127.0.0.1 -p "$2" --tls --cacert "$1/ca.pem" ping)" = PONG ]
}

redis_tls_start() {
  local dir password
  redis_install && packages_command openssl openssl || return 1
  mkdir -p "$1" && dir=$(cd "$1" && pwd) && password=$(redis_password "$dir") || return 1
  redis_certificates "$dir" || return 1
  redis_write_config "$dir" "$password" "tls-cert-file $dir/server.pem" "tls-key-file $dir/server.key" \
    "tls-ca-cert-file $dir/ca.pem" 'tls-auth-clients optional' 'tls-protocols "TLSv1.2 TLSv1.3"' || return 1
  process_serve "$dir" redis_tls_launch redis_tls_answers || return 1
  printf 'export %s\n' "SRE_TEST_REDIS_TLS=rediss://default:$password@127.0.0.1:$(<"$dir/port")" \
    "SRE_TEST_REDIS_CA=$dir/ca.pem" "SRE_TEST_REDIS_CERT=$dir/client.pem" "SRE_TEST_REDIS_KEY=$dir/client.key" \
    >"$dir/variables"
}

redis_sentinel_launch() { process_launch "$1" redis-server "$1/sentinel.conf" --sentinel --port "$2"; }
redis_sentinel_answers() { [ "$(redis-cli -h 127.0.0.1 -p "$2" ping)" = PONG ]; }

# Three sentinels that know each other and the replica, and a replica that is in step.
redis_sentinel_settled() {
  local dir=$1 name
  for name in 1 2 3; do
    redis-cli -h 127.0.0.1 -p "$(<"$dir/sentinel-$name/port")" sentinel master sre-test |
      awk 'NR % 2 { key = $0; next } { value[key] = $0 }
        END { exit !(value["flags"] == "master" && value["num-slaves"] == 1 && value["num-other-sentinels"] == 2) }' ||
      return 1
  done
  for name in primary replica; do
    REDISCLI_AUTH=$(<"$dir/password") redis-cli -h 127.0.0.1 -p "$(<"$dir/$name/port")" info replication |
      grep -E '^(master_link_status:up|slave0:.*state=online)' || return 1
  done
}

redis_sentinel_start() {
  local dir password primary name sentinels=
  redis_install && mkdir -p "$1" && dir=$(cd "$1" && pwd) && password=$(redis_password "$dir") || return 1
  for name in primary replica sentinel-1 sentinel-2 sentinel-3; do
    mkdir -p "$dir/$name" && (umask 077 && cp "$dir/password" "$dir/$name/password") || return 1
  done
  # What the sentinels write into these files after a fail-over stays.
  [ -e "$dir/primary/redis.conf" ] || redis_write_config "$dir/primary" "$password" || return 1
  process_serve "$dir/primary" redis_launch redis_answers || return 1
  primary=$(<"$dir/primary/port")
  [ -e "$dir/replica/redis.conf" ] ||
    redis_write_config "$dir/replica" "$password" "replicaof 127.0.0.1 $primary" || return 1
  process_serve "$dir/replica" redis_launch redis_answers || return 1
  for name in 1 2 3; do
    [ -e "$dir/sentinel-$name/sentinel.conf" ] || (
      umask 077
      printf '%s\n' 'bind 127.0.0.1' 'daemonize no' "dir $dir/sentinel-$name" "sentinel monitor sre-test 127.0.0.1 $primary 2" \
        "sentinel auth-pass sre-test $password" 'sentinel down-after-milliseconds sre-test 1000' \
        'sentinel failover-timeout sre-test 5000' >"$dir/sentinel-$name/sentinel.conf"
    ) || return 1
    process_serve "$dir/sentinel-$name" redis_sentinel_launch redis_sentinel_answers || return 1
    sentinels+=${sentinels:+,}127.0.0.1:$(<"$dir/sentinel-$name/port")
  done
  process_wait "$dir/primary" redis_sentinel_settled "$dir" || { echo "the sentinels in $dir do not find each other" >&2; return 1; }
  printf 'export %s\n' "SRE_TEST_REDIS_SENTINEL=$sentinels" SRE_TEST_REDIS_SENTINEL_MASTER=sre-test \
    "SRE_TEST_REDIS_SENTINEL_PASSWORD=$password" >"$dir/variables"
}

# Calls process_stop or process_signal for each server in a folder; sentinels first, so that they see no failure.
redis_each() {
  local dir=$1 name
  shift
  for name in sentinel-1 sentinel-2 sentinel-3 replica primary .; do
    [ ! -e "$dir/$name/pid" ] || "$1" "$dir/$name" "${@:2}"
  done
}
redis_stop() { redis_each "$1" process_stop; }

redis_main() {
  set -euo pipefail
  [ "$#" -eq 2 ] || { sed -n '2,/^source/s/^# \?//p' "$0" >&2; return 2; }
  case "$1" in
    start) redis_start "$2" && cat "$2/variables" ;;
    start-tls) redis_tls_start "$2" && cat "$2/variables" ;;
    start-sentinel) redis_sentinel_start "$2" && cat "$2/variables" ;;
    stop) redis_stop "$2" ;;
    crash) redis_each "$2" process_stop KILL ;;
    pause) redis_each "$2" process_signal STOP ;;
    resume) redis_each "$2" process_signal CONT ;;
    *) redis_main ;;
  esac
}

if [ "${BASH_SOURCE[0]}" = "$0" ]; then redis_main "$@"; fi
