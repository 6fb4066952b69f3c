#!/usr/bin/env bash
# Components out of process: the samples in every language keep the contract, and one that breaks it is found out, in
# each of its ways. Ends what it started.
set -euo pipefail
cd "$(dirname "$0")/../.."
sre=./target/debug/sre
samples=examples/components
work=$(mktemp -d)
started=()
trap 'for pid in "${started[@]}"; do kill "$pid" 2>/dev/null || true; done; wait 2>/dev/null || true; rm -rf "$work"' EXIT

"$samples/python/setup.sh"
"$samples/typescript/setup.sh"
"$samples/go/setup.sh"

# serve SOCKET COMMAND...: starts it, and waits for its socket.
serve() {
  local socket=$1 log=$1.log
  shift
  timeout 300 "$@" >"$log" 2>&1 &
  started+=($!)
  for _ in $(seq 200); do
    if [ -S "$socket" ] && grep -q 'serving on' "$log"; then return 0; fi
    kill -0 "${started[-1]}" 2>/dev/null || break
    sleep 0.05
  done
  echo "$* does not serve:" && cat "$log"
  return 1
}
stop_last() {
  kill "${started[-1]}" 2>/dev/null || true
  wait "${started[-1]}" 2>/dev/null || true
}

python=$samples/python/.venv/bin/python
serve "$work/python" "$python" "$samples/python/server.py" --socket "$work/python"
serve "$work/typescript" node "$samples/typescript/node_modules/.built/server.js" --socket "$work/typescript"
serve "$work/go" "$samples/go/.build/ledger" -socket "$work/go" -file "$work/ledger.jsonl"
serve "$work/rust" ./target/debug/sre-component-sample --socket "$work/rust"
for sample in python typescript go rust; do
  echo "== $sample"
  "$sre" component test --target "unix:$work/$sample" || { cat "$work/$sample.log"; exit 1; }
done

# broken KIND WORDS: the kit ends with 1, and says these words.
broken() {
  local kind=$1 words=$2 code=0
  serve "$work/$kind" "$python" tests/components/broken.py --broken "$kind" --socket "$work/$kind"
  timeout 120 "$sre" component test --limit 5 --json --target "unix:$work/$kind" >"$work/$kind.report" 2>&1 || code=$?
  stop_last
  if [ "$code" != 1 ] || ! grep -qF -- "$words" "$work/$kind.report"; then
    echo "$kind: the kit ended with $code and does not say \"$words\":"
    cat "$work/$kind.report"
    return 1
  fi
  echo "== $kind is found: $words"
}
broken describe-changes 'says something else the second time'
broken bad-schema 'its schema is not JSON'
broken impure 'declare EFFECT_READ if it may differ'
broken crashes-on-bad-input 'the stream broke off with'
broken ignores-cancel 'a stream that was cancelled was still open'
broken not-serving 'it says NOT_SERVING'
broken forgets-the-key 'echo it'
broken ends-silently 'the stream ended without an answer or a failure'
broken talks-on 'messages came after the last one'
broken one-at-a-time 'streams that say nothing'

# A suite whose agents use the samples.
data=$PWD/target/kept/components
rm -rf "$data" && mkdir -p "$data/components"
timeout 300 "$sre" --data-dir "$data" --set listen.io=127.0.0.1:0 up >"$data/sre.log" 2>&1 &
started+=($!)
for _ in $(seq 600); do
  [ -e "$data/run/ready" ] && break
  kill -0 "${started[-1]}" 2>/dev/null || { cat "$data/sre.log"; exit 1; }
  sleep 0.1
done
say() { "$sre" --data-dir "$data" "$@"; }
countdown() { serve "$data/components/rust" ./target/debug/sre-component-sample --socket "$data/components/rust"; }
serve "$data/components/python" "$python" "$samples/python/server.py" --socket "$data/components/python"
serve "$data/components/typescript" node "$samples/typescript/node_modules/.built/server.js" \
  --socket "$data/components/typescript"
serve "$data/components/go" "$samples/go/.build/ledger" -socket "$data/components/go" -file "$work/agents.jsonl"
countdown
for sample in python typescript go rust; do
  say component register --target "unix:$data/components/$sample"
done
# answers FILE WORDS INPUT...: the skill `demo` answers these words.
answers() {
  local file=$1 words=$2 answer
  shift 2
  answer=$(say agent "$file" --skill demo "$@" 2>&1) || true
  if ! grep -qF -- "$words" <<<"$(tr -d ' \n' <<<"$answer")"; then
    echo "$file $*: $words is not in the answer: $answer"
    return 1
  fi
  echo "== $file answers $words"
}
answers "$samples/python/stats.smyth" '"Words":5' text='the cat and the dog'
answers "$samples/typescript/outline.smyth" '"anchor":"fruit"' markdown='# Fruit'
answers "$samples/go/ledger.smyth" '"Balance":12.5' account=alice amount=12.5
answers "$samples/go/ledger.smyth" 'abovethelimit' account=alice amount=5000
answers "$samples/rust/countdown.smyth" '"Steps":3' from=3

# kill -9 in the middle of a call: what only reads is begun again where it is served again, and else is a typed error.
in_the_middle() {
  say agent "$samples/rust/countdown.smyth" --skill demo from=40 >"$work/countdown" 2>&1 &
  local run=$!
  sleep 1.5
  # The server itself, not what bounds its time.
  kill -9 "$(pgrep -P "${started[-1]}")"
  wait "${started[-1]}" 2>/dev/null || true
  "$@"
  wait "$run" || true
}
in_the_middle countdown
grep -qF '"Steps"' "$work/countdown" || { echo "not begun again:" && cat "$work/countdown"; exit 1; }
echo "== killed in the middle of a call and served again, it answers"
in_the_middle true
grep -qF 'COMPONENT_UNAVAILABLE: Component Samples.Countdown' "$work/countdown" ||
  { echo "no typed error:" && cat "$work/countdown"; exit 1; }
echo "== killed in the middle of a call for good, it is a typed error"
say component list
say component remove Samples.Countdown

# Over mTLS, with an identity of its own and a token of the agent: it may what it declared, itself, and nothing else.
say certs issue service/caller >/dev/null
certs=$data/certs
timeout 300 "$python" tests/components/caller.py --listen 127.0.0.1:0 --cert "$certs/service/caller.pem" \
  --key "$certs/service/caller.key" --ca "$certs/ca.pem" --other-cert "$certs/service/llm.pem" \
  --other-key "$certs/service/llm.key" --allow spiffe://sre.local/service/engine >"$work/caller.log" 2>&1 &
started+=($!)
for _ in $(seq 200); do
  grep -q 'serving on' "$work/caller.log" && break
  sleep 0.05
done
target=https://127.0.0.1:$(sed -n 's/^serving on //p' "$work/caller.log")
say component describe --target "$target" --identity service/caller
say component register --target "$target" --identity service/caller
codes='"Codes":{"read":"NOT_FOUND","write":"PERMISSION_DENIED","files":"PERMISSION_DENIED","stolen":"PERMISSION_DENIED","without":"UNAUTHENTICATED"}'
answers tests/components/caller.smyth "$codes" x=1
if say component describe --target "$target" --identity service/other 2>/dev/null; then
  echo "a server that is not the one named was believed" && exit 1
fi
if "$sre" --data-dir "$data" --cert "$certs/user/dev.pem" --key "$certs/user/dev.key" --ca "$certs/ca.pem" \
  component describe --target "$target" --identity service/caller 2>/dev/null; then
  echo "the component let in somebody who is not the engine" && exit 1
fi
if grep -E '"level":"ERROR"|ERROR' "$data/sre.log"; then echo "the suite's log has errors" && exit 1; fi
