#!/usr/bin/env bash
# Runs every libFuzzer target of build/fuzz for some seconds each and ends with "N passed, M failed".
# New inputs that reach new code are kept in build/fuzz/corpus; a crash is written to build/fuzz/crashes: fix it,
# then move the file to tests/fuzz/regression/<target>.
#
#   scripts/fuzz.sh SECONDS [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:?usage: scripts/fuzz.sh SECONDS [TARGET...]}
shift
targets=("$@")
if ((${#targets[@]} == 0)); then
    for source in tests/fuzz/fuzz_*.c; do
        name=${source##*/fuzz_}
        [[ -f $source ]] && targets+=("${name%.c}")
    done
fi
export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1
passed=0 failed=0
for name in "${targets[@]}"; do
    corpus=build/fuzz/corpus/$name crashes=build/fuzz/crashes/$name log=build/fuzz/fuzz_$name.log
    mkdir -p "$corpus" "$crashes"
    folders=("$corpus")
    for folder in tests/fuzz/{corpus,regression}/"$name"; do
        [[ -d $folder ]] && folders+=("$folder")
    done
    if build/fuzz/bin/fuzz_"$name" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$crashes/" "${folders[@]}" >"$log" 2>&1; then
        passed=$((passed + 1))
        printf 'fuzz: %-24s ok, %s runs\n' "$name" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")"
    else
        failed=$((failed + 1))
        tail -n 60 "$log"
        printf 'fuzz: %-24s FAILED; the input is in %s\n' "$name" "$crashes"
    fi
done
printf '%d passed, %d failed\n' "$passed" "$failed"
((failed == 0))
