#!/usr/bin/env bash
# Proves that scripts/check-layers.sh can fail: each row plants one violation into a clean tree and expects it to be
# reported, alone; each row without an expected text is legal code that must pass.
set -euo pipefail
cd "$(dirname "$0")/../.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0

# try FILE LINE [EXPECTED]
try() {
    local out status=0
    rm -rf "${work:?}/tree"
    mkdir -p "$work/tree/src/base" "$work/tree/$(dirname "$1")"
    printf '#include "base/a.h"\n' >"$work/tree/src/base/a.c"
    printf '%b\n' "$2" >>"$work/tree/$1"
    out=$(scripts/check-layers.sh "$work/tree") || status=$?
    if [[ -z ${3:-} && $status == 0 ]] || [[ -n ${3:-} && $status == 1 && $out == "$1:"*"$3"* && $out != *$'\n'* ]]; then
        passed=$((passed + 1))
        return
    fi
    failed=$((failed + 1))
    printf 'FAILED: %s: %s\n  expected: %s\n  got (%d): %s\n' "$1" "$2" "${3:-to pass}" "$status" "$out"
}

try src/base/x.c '#include "proto/chat.h"' 'base may not include proto/chat.h'
try src/base/x.c '#include "base/log.h"' 'does not log'
try src/base/log.c '#include "base/log.h"'
try src/proto/x.c '#include "net/loop.h"' 'proto may not include net/loop.h'
try src/proto/x.c '#include <pthread.h>' 'knows no threads'
try src/proto/x.c '#include <jansson.h>'
try src/route/x.c '#include "proto/chat.h"'
try src/route/x.c '#include "proto/openai.h"' 'route may not include proto/openai.h'
try src/route/x.c '#include "net/loop.h"' 'route may not include net/loop.h'
try src/route/x.c '#include "base/clock.h"' 'route gets time as an argument'
try src/route/x.c '  #  include <time.h>' 'route does no I/O'
try src/net/x.c '#include "engine/engine.h"' 'net may not include engine/engine.h'
try src/net/x.c '#include <event2/event.h>'
try src/engine/x.c '#include "route/router.h"' 'engine may not include route/router.h'
try src/engine/x.cpp '#include "chat.h"\n#include <llama.h>'
try src/config/x.c '#include <yaml.h>'
try src/config/x.c '#include <jansson.h>' 'config may not use <jansson.h>'
try src/worker/x.c '#include "controller/request.h"' 'worker may not include controller/request.h'
try src/worker/x.c '#include <event2/event.h>' 'worker may not use <event2/event.h>'
try src/controller/x.c '#include "worker/queue.h"' 'controller may not include worker/queue.h'
try src/controller/x.c '#include "route/router.h"'
try src/controller/x.c '#include <nats/nats.h>' 'controller may not use <nats/nats.h>'
try src/controller/x.c '#include "llama.h"' 'write the path from src/'
try src/cli/x.c '#include "controller/controller.h"\n#include "worker/worker.h"'
try src/other/x.c '#include "base/buf.h"' 'has no rule'
try src/net/x.c 'int f(char *s) { return atoi(s); }' 'atoi() is banned'
try tests/unit/x.c 'strcpy (a, b);' 'strcpy() is banned'
try bench/x.c 'x = "a\\"b"; sprintf(s, "x");' 'sprintf() is banned'
try src/net/x.c 'snprintf(s, n, "atoi()"); my_atoi(s); /* strcpy(a, b) */ // gets(s)'
try src/net/x.c '/* one\n#include "engine/engine.h"\nstrcat(a, b)\n*/ int x;'

echo "$passed rows as expected, $failed not"
((failed == 0))
