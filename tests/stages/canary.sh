#!/usr/bin/env bash
# A secret went through every suite that the tests started; no file they left may hold it in clear.
set -euo pipefail
cd "$(dirname "$0")/../.."
canary='canary-7f3c9e2a-do-not-store'
kept=target/kept
[ -d "$kept" ] || { echo "no suite left files in $kept: the tests did not run"; exit 1; }
files=$(find "$kept" -type f | wc -l)
[ "$files" -gt 20 ] || { echo "only $files files in $kept: the tests did not run"; exit 1; }
[ -e "$kept/canary-used" ] || { echo "no test used the canary secret"; exit 1; }
found=0
for form in "$canary" "$(printf %s "$canary" | base64 -w0 | sed 's/=*$//')" "$(printf %s "$canary" | od -An -tx1 | tr -d ' \n')"; do
  if grep -rlaF -- "$form" "$kept"; then found=1; fi
done
[ "$found" -eq 0 ] || { echo "the canary secret stands in the files above"; exit 1; }
echo "the canary secret stands in none of $files files"
