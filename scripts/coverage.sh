#!/usr/bin/env bash
# Prints the line coverage of every source file of src, lowest first, from the counters of build/cov. A file that no
# test has run counts with 0 %.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root/build/cov"

find . -name '*.gcno' -path './src/*' -print0 | xargs -0 gcov -n -r -s "$root" 2>/dev/null | awk '
    /^File / { split($0, part, "\047"); file = part[2]; next }
    /^Lines executed:/ && file ~ /^src\/.*\.c(pp)?$/ {
        split($0, part, /[:%]/); share = part[2]; lines = $NF
        printf "%6.1f %%  %5d lines  %s\n", share, lines, file | "sort -n"
        hit += share * lines / 100; all += lines
    }
    { file = "" }
    END { close("sort -n"); if (all) printf "%6.1f %%  %5d lines  all\n", 100 * hit / all, all }'
