#!/usr/bin/env bash
# Writes the generated documents, or with --check fails if a committed one is not what mlxd prints today.
#
#   scripts/docs.sh [--check] path/to/mlxd
set -euo pipefail
cd "$(dirname "$0")/.."

check=0
[[ ${1:-} == --check ]] && { check=1; shift; }
mlxd=${1:?usage: scripts/docs.sh [--check] path/to/mlxd}
status=0

# document TOPIC FILE: what `mlxd docs TOPIC` prints belongs into FILE.
document() {
    local text=$work/$1
    "$mlxd" docs "$1" >"$text" || { echo "docs: mlxd docs $1 failed" >&2; exit 1; }
    if ((!check)); then
        mkdir -p "$(dirname "$2")"
        cp "$text" "$2"
    elif ! diff -u "$2" "$text"; then
        echo "docs: $2 is not current; run \`make docs\`" >&2
        status=1
    fi
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
document config docs/CONFIG.md
document errors docs/ERRORS.md
document states docs/STATES.md
document yaml config/cluster.yaml
exit $status
