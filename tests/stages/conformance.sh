#!/usr/bin/env bash
# The edge cases of the spec that need real components, and the golden vectors: same or deliberate. Fails when
# more differ or are skipped than the ceilings allow.
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/conformance/ceilings
mkdir -p target/kept/conformance

# The project's own rows; those with test doubles run with the engine's tests.
rows=target/rows.log
status=0
./target/debug/sre test --agents tests/agents/suite --vectors tests/agents/vectors.jsonl \
  >"$rows" 2>target/kept/conformance/rows-stderr.log || status=$?
grep -E '  (different|skipped)  ' "$rows" || true
echo "rows: $(tail -n 1 "$rows")"
read -r _ _ different skipped < <(tail -n 1 "$rows" | sed -E 's/[^0-9]+/ /g')
if [ -z "$skipped" ] || [ "$different" -gt "$MAX_ROWS_DIFFERENT" ] || [ "$skipped" -gt 0 ]; then
  echo "rows differ (see $rows); tests/conformance/ceilings allows $MAX_ROWS_DIFFERENT"
  exit 1
fi
[ "$status" -eq 0 ] || [ "$different" -gt 0 ] || exit "$status"

from=${SRE_CONFORMANCE:-../shared/conformance}
if [ ! -d "$from" ]; then
  echo "skipped: conformance ($from is absent; set SRE_CONFORMANCE)"
  exit 0
fi

# The fixtures' two fixed ports; each ends with this script.
pids=()
trap 'for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done' EXIT
for fixture in mock-http:18099 mock-llm:18098; do
  timeout 900 node "$from/${fixture%%:*}.mjs" "${fixture##*:}" >/dev/null & pids+=($!)
done
for _ in $(seq 100); do
  if (exec 3<>/dev/tcp/127.0.0.1/18099 4<>/dev/tcp/127.0.0.1/18098) 2>/dev/null; then break; fi
  sleep 0.1
done

log=target/conformance.log
status=0
./target/debug/sre test --agents "$from/agents" --vectors "$from/vectors.jsonl" --fixtures "$from/fixtures" \
  --differences tests/conformance/differences.jsonl >"$log" 2>target/kept/conformance/stderr.log || status=$?
grep -E '  (different|skipped)  ' "$log" || true
tail -n 1 "$log"
read -r same deliberate different skipped < <(tail -n 1 "$log" | sed -E 's/[^0-9]+/ /g')
for count in "$same" "$deliberate" "$different" "$skipped"; do
  [ -n "$count" ] || { echo "no counts: see $log"; exit 1; }
done
if [ "$different" -gt "$MAX_DIFFERENT" ] || [ "$skipped" -gt "$MAX_SKIPPED" ] || [ "$deliberate" -gt "$MAX_DELIBERATE" ]; then
  echo "over a ceiling of tests/conformance/ceilings: deliberate $MAX_DELIBERATE, different $MAX_DIFFERENT, skipped $MAX_SKIPPED"
  exit 1
fi
[ "$status" -eq 0 ] || [ "$different" -gt 0 ] || exit "$status"
