#!/usr/bin/env bash
# Runs clang-tidy (.clang-tidy) over all C and C++ of src, with the compile commands of build/dev.
#
#   scripts/tidy.sh [FILE...]
set -euo pipefail
cd "$(dirname "$0")/.."

files=("$@")
((${#files[@]})) || mapfile -t files < <(find src -name '*.c' -o -name '*.cpp' | sort)
# One file at a time: given two, clang 14 loses track of va_start in the second. -quiet still leaves "N warnings
# generated" on stderr, about suppressed ones: noise.
printf '%s\0' "${files[@]}" | xargs -0 -n 1 -P "${MLX_JOBS:-$(nproc)}" clang-tidy -p build/dev -quiet \
    2> >(grep -v 'warnings\? generated\.$' >&2)
echo "tidy: ${#files[@]} files"
