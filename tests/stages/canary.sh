#!/usr/bin/env bash
# A secret went through every suite that the tests started; no file they left may hold it in clear, and no server that
# they stored things in: tests/stages/canary.sh [FOLDER OF SERVERS THAT ENDED]
set -euo pipefail
cd "$(dirname "$0")/../.."
canary='canary-7f3c9e2a-do-not-store'
kept=target/kept
[ -d "$kept" ] || { echo "no suite left files in $kept: the tests did not run"; exit 1; }
files=$(find "$kept" -type f | wc -l)
[ "$files" -gt 20 ] || { echo "only $files files in $kept: the tests did not run"; exit 1; }
[ -e "$kept/canary-used" ] || { echo "no test used the canary secret"; exit 1; }

# What stands before a text shifts its base64 by 0, 1 or 2 bytes; the first and last digits depend on what is around.
base64_forms() {
  local shift digits
  for shift in '' x xx; do
    digits=$(printf %s "$shift$1" | base64 -w0 | sed 's/=*$//')
    echo "${digits:$(((${#shift} * 8 + 5) / 6)):$(((${#1} * 8 - 10) / 6))}"
  done
}
forms() { printf '%s\n' "$1" "$(printf %s "$1" | od -An -tx1 | tr -d ' \n')"; base64_forms "$1"; }

looked=("$kept")
# What Redis and S3 keep is looked at as it is, requests to S3 with their bodies unpacked.
find_requests() { find "$@" -name requests -path '*moto*' -o -name requests -path '*s3*' 2>/dev/null; }
unpacked=$(mktemp -d)
trap 'rm -rf "$unpacked"' EXIT
if [ "$#" -gt 0 ]; then looked+=("$@"); fi
find_requests "${looked[@]}" | python3 -c '
import base64, json, sys
for path in sys.stdin.read().split("\n"):
    for line in open(path) if path else ():
        entry = json.loads(line)
        body = base64.b64decode(entry["body"]) if entry.get("body_encoded") else (entry.get("body") or "").encode()
        sys.stdout.buffer.write(entry["url"].encode() + b"\n" + body + b"\n")
' >"$unpacked/bodies"
looked+=("$unpacked")

found=0
while read -r form; do
  if grep -rlaF -- "$form" "${looked[@]}"; then found=1; fi
done < <(forms "$canary")
[ "$found" -eq 0 ] || { echo "the canary secret stands in the files above"; exit 1; }
if [ "$#" -gt 0 ]; then
  files=$((files + $(find "$@" -type f | wc -l)))
fi
echo "the canary secret stands in none of $files files"
