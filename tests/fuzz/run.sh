#!/usr/bin/env bash
# Fuzzes each target for FUZZ_SECONDS (30). A panic, an input that takes 5 s, or more than 512 MiB of memory ends
# it with the input in target/fuzz/artifacts. libFuzzer with coverage, on a stable compiler.
set -euo pipefail
cd "$(dirname "$0")"
seconds=${FUZZ_SECONDS:-30}
targets=${FUZZ_TARGETS:-document template run acl}
out=../../target/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
passes="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters"
passes="$passes -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
# With --target the instrumentation stays out of build scripts.
RUSTFLAGS="$passes" CARGO_TARGET_DIR=$out cargo build --locked --release --target "$host" --quiet
for target in $targets; do
  corpus=$out/corpus/$target
  mkdir -p "$corpus" "$out/artifacts/$target"
  echo "=== $target, ${seconds} s"
  "$out/$host/release/$target" "$corpus" "seeds/$target" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=512 \
    -max_len=65536 -artifact_prefix="$out/artifacts/$target/" -print_final_stats=1 -verbosity=0 2>"$out/$target.log" ||
    { tail -n 60 "$out/$target.log"; echo "$target failed; the input is in target/fuzz/artifacts/$target"; exit 1; }
  grep -E 'number_of_executed_units|peak_rss_mb' "$out/$target.log"
done
