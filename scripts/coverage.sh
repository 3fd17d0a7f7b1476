#!/usr/bin/env bash
# Prints the line coverage of every source file of src, lowest first, from the counters of build/cov.
set -euo pipefail
cd "$(dirname "$0")/../build/cov"

find . -name '*.gcda' -path '*/src/*' -print0 | xargs -0 gcov -n -r -s "$PWD/../.." 2>/dev/null | awk '
    /^File / { split($0, part, "\047"); file = part[2]; next }
    /^Lines executed:/ && file ~ /^src\/.*\.c(pp)?$/ {
        split($0, part, /[:% ]+/); share = part[3]; lines = $NF
        printf "%6.1f %%  %5d lines  %s\n", share, lines, file
        hit += share * lines / 100; all += lines
    }
    { file = "" }
    END { if (all) printf "%6.1f %%  %5d lines  all\n", 100 * hit / all, all }' | sort -n
