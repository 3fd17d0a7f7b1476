#!/usr/bin/env bash
# Runs the ctests of one preset, which must be built, and ends with the line "N passed, M failed", where each
# cmocka test and each node test counts as one. Exits with 0 only when nothing failed.
#
#   scripts/run-tests.sh PRESET [ctest options, for example -R unit.base]
set -euo pipefail
cd "$(dirname "$0")/.."

preset=${1:?usage: scripts/run-tests.sh PRESET [ctest options]}
shift
log=build/$preset/Testing/Temporary/LastTest.log
rm -f "$log"

# clang 14's thread sanitizer cannot map its shadow on kernels with 32 random address bits.
run=()
if [[ $preset == tsan ]] && setarch "$(uname -m)" -R true 2>/dev/null; then run=(setarch "$(uname -m)" -R); fi

status=0
"${run[@]}" ctest --preset "$preset" -j "${MLX_JOBS:-$(nproc)}" "$@" || status=$?

# One ctest is one block of the log, from "Testing:" to its verdict. A block without totals of its own counts as
# one test; a failed one whose program counted no failure (a crash, a leak, a time limit) counts as one failure.
touch "$log"
awk -v status="$status" '
    function number(text) { return match(text, /[0-9]+/) ? substr(text, RSTART, RLENGTH) + 0 : 0 }
    function finish(ok) {
        if (!open) return
        if (!ok && failed == 0) failed = 1
        if (ok && passed + failed + skipped == 0) passed = 1
        P += passed; F += failed; S += skipped; open = 0
    }
    /^[0-9]+\/[0-9]+ Testing: / { finish(0); open = 1; passed = failed = skipped = 0 }
    /^\[  PASSED  \] [0-9]+ test/ { passed += number($0) }
    /^\[  FAILED  \] [0-9]+ test/ { failed += number($0) }
    /^\[  SKIPPED \] [0-9]+ test/ { skipped += number($0) }
    /^# pass [0-9]+$/ { passed += $3 }
    /^# (fail|cancelled) [0-9]+$/ { failed += $3 }
    /^# (skipped|todo) [0-9]+$/ { skipped += $3 }
    /^Test Passed\.$/ { finish(1) }
    END {
        finish(0)
        if (status != 0 && F == 0) F = 1
        if (S > 0) printf "%d skipped\n", S
        printf "%d passed, %d failed\n", P, F
        exit F > 0
    }' "$log"
