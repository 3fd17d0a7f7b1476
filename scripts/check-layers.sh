#!/usr/bin/env bash
# Checks by their #include lines that the folders of src keep to their layers, and that no file of src, tests and
# bench calls a function we have banned. Prints "file:line: what is wrong" and exits with 1 if anything is.
#
#   scripts/check-layers.sh [ROOT]    ROOT: the tree to look at, by default this one
set -euo pipefail
root=${1:-$(dirname "$0")/..}
cd "$root"

mapfile -t files < <(find src tests bench -name node_modules -prune -o \
    \( -name '*.c' -o -name '*.h' -o -name '*.cpp' \) -print 2>/dev/null | sort)
((${#files[@]})) || { echo "check-layers: no sources in $root" >&2; exit 1; }

awk '
# Own headers each folder may include, as patterns; its own folder is always allowed.
BEGIN {
    own["base"] = "^$"
    own["proto"] = own["config"] = own["net"] = "^base/"
    own["route"] = "^(base/|proto/(chat|worker_info)\\.h$)"
    own["engine"] = "^(base/|proto/chat\\.h$)"
    own["worker"] = own["controller"] = "^(base|proto|config|route|net|engine)/"
    own["cli"] = "^[a-z]+/"
    # Errors are returned by these and logged above; log.c itself is the exception.
    no_log = "^(base|proto|route|engine)$"

    # Headers of libraries, and the folders where each may appear.
    library["^(event2/|event\\.h|evhttp|evutil|nats/|nats\\.h|http_parser|openssl/)"] = "^net$"
    library["^jansson"] = "^(proto|controller|worker|cli)$"
    library["^yaml"] = "^config$"
    library["^(llama|ggml|gguf)"] = "^engine$"

    # What decides may not wait, ask the time or do I/O; what parses may not use threads.
    thread = "^(pthread|threads|stdatomic|semaphore|sched)\\.h$"
    io = "^(unistd|fcntl|poll|time|netdb|signal|sys/(socket|time|stat|epoll|eventfd|mman|uio|wait|ioctl))\\.h$"
    banned = "(^|[^A-Za-z0-9_])(strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol)[ \t]*\\("
}

function report(text) { printf "%s:%d: %s\n", FILENAME, FNR, text; bad++ }

function check_own(folder, header) {
    if (header !~ /\//) {
        # The headers of llama-common have no folder of their own.
        if (folder != "engine") report("\"" header "\": write the path from src/, as in \"base/buf.h\"")
        return
    }
    if (header !~ "^" folder "/" && header !~ own[folder]) report(folder " may not include " header)
    if (header == "base/log.h" && folder ~ no_log && FILENAME !~ /\/log\.c$/)
        report(folder " returns errors and does not log")
    if (folder == "route" && header ~ /^base\/(clock|chan)\.h$/)
        report("route gets time as an argument and knows no threads: " header)
}

function check_system(folder, header,    pattern) {
    for (pattern in library)
        if (header ~ pattern && folder !~ library[pattern]) report(folder " may not use <" header ">")
    if (folder ~ /^(route|proto)$/ && header ~ thread) report(folder " knows no threads: <" header ">")
    if (folder == "route" && header ~ io) report("route does no I/O and asks no clock: <" header ">")
}

# The line without comments and without what its strings contain.
function code_of(line,    out, i, two, c) {
    out = ""
    for (i = 1; i <= length(line); i++) {
        two = substr(line, i, 2); c = substr(line, i, 1)
        if (in_comment) { if (two == "*/") { in_comment = 0; i++ } continue }
        if (quote) { if (c == "\\") i++; else if (c == quote) quote = ""; continue }
        if (two == "/*") { in_comment = 1; i++; continue }
        if (two == "//") break
        if (c == "\"" || c == "\047") { quote = c; continue }
        out = out c
    }
    quote = ""
    return out
}

FNR == 1 { in_comment = 0; split(FILENAME, path, "/"); folder = path[1] == "src" ? path[2] : "" }

{
    comment_before = in_comment
    code = code_of($0)
    if (match(code, banned)) {
        call = substr(code, RSTART, RLENGTH); gsub(/[^a-z]/, "", call)
        report(call "() is banned")
    }
}

/^[ \t]*#[ \t]*include/ && folder && !comment_before {
    if (!(folder in own)) report("folder src/" folder " has no rule in check-layers.sh")
    else if (match($0, /"[^"]+"/)) check_own(folder, substr($0, RSTART + 1, RLENGTH - 2))
    else if (match($0, /<[^>]+>/)) check_system(folder, substr($0, RSTART + 1, RLENGTH - 2))
}

END {
    if (!bad) printf "check-layers: %d files keep the rules\n", ARGC - 1
    exit bad > 0
}' "${files[@]}"
