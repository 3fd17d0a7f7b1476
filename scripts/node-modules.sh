#!/usr/bin/env bash
# Installs what the system tests need from npm, into tests/system/node_modules; nothing to do while
# package-lock.json is the one installed last.
set -euo pipefail
cd "$(dirname "$0")/../tests/system" 2>/dev/null || exit 0
[[ -f package-lock.json ]] || exit 0

stamp=node_modules/.installed
wanted=$(sha256sum <package-lock.json)
[[ -f $stamp && $(<"$stamp") == "$wanted" ]] && exit 0
npm ci --no-audit --no-fund --no-update-notifier || {
    echo "node-modules: npm ci failed in tests/system. Is there a network, and a registry npm may use?" >&2
    exit 1
}
echo "$wanted" >"$stamp"
