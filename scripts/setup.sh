#!/usr/bin/env bash
# Makes the machine ready: installs the Debian packages that are missing, then gets llama.cpp into the cache.
# With everything in place it downloads nothing and works offline.
#
#   scripts/setup.sh [--for serve|bench|test|ci]    serve: build and run; bench: and what the controller is
#                                                   measured beside; test: serve and its tests (default);
#                                                   ci: and clang's tools
set -euo pipefail
shopt -s nullglob
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }
fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

purpose=test
case "${1:-} ${2:-}" in
' ') ;;
'--for serve' | '--for bench' | '--for test' | '--for ci') purpose=$2 ;;
*) fail "unknown: $*" "usage: scripts/setup.sh [--for serve|bench|test|ci]" ;;
esac

packages=(nats-server libnats-dev libevent-dev libjansson-dev libyaml-dev libhttp-parser-dev libssl-dev
    ninja-build pkg-config cmake make gcc g++ git ccache ca-certificates)
[[ $purpose == serve || $purpose == bench ]] || packages+=(libcmocka-dev curl)
[[ $purpose == bench ]] && packages+=(nginx)
[[ $purpose == ci ]] && packages+=(clang clang-tidy clang-format)

# A llama.cpp of the system that looks usable; cmake/llama.cmake has the last word.
has_system_llama() {
    local libs=(/usr/{,local/}lib{,64,/*}/libllama-common.so*)
    local headers=(/usr/{,local/}include{,/llama-common,/llama.cpp/common,/common}/peg-parser.[h])
    ((${#libs[@]} && ${#headers[@]}))
}

# node and npm may come from anywhere, so the commands are asked for, not the packages. npm fetches llama.cpp
# (unless it is there already) and the system tests' client; node runs them.
add_node() {
    local needed=0
    [[ $purpose == serve || $purpose == bench ]] || needed=1
    if ((!needed)) && [[ -z ${MLX_LLAMA_BUNDLE:-} ]] && ! llama_is_there; then needed=1; fi
    ((needed)) || return 0
    command -v node >/dev/null || packages+=(nodejs)
    command -v npm >/dev/null || packages+=(npm)
}

llama_is_there() {
    has_system_llama && return
    command -v c++ >/dev/null && [[ -f $(scripts/get-llama.sh --print-dir)/link.txt ]]
}

# missing_packages NAME...: those that dpkg does not call installed, one a line.
missing_packages() {
    local name
    for name in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null) == installed ]] || echo "$name"
    done
}

# install_packages NAME...: by apt, as root or through sudo.
install_packages() {
    local sudo=()
    if ((EUID != 0)); then
        command -v sudo >/dev/null || fail "These packages are missing: $*" \
            "Neither root nor sudo: have an administrator run: apt-get install -y --no-install-recommends $*"
        sudo=(sudo)
    fi
    say "installing $*"
    "${sudo[@]}" apt-get update -q || fail "apt-get update failed. Is there a network? Missing: $*"
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" ||
        fail "apt-get install failed; see above. Missing: $*"
    # Debian starts a packaged server at once. We run our own, on ports that these would hold. One that was here
    # before is somebody's, so it is left alone.
    local service
    for service in nats-server nginx; do
        [[ " $* " == *" $service "* && -d /run/systemd/system ]] || continue
        "${sudo[@]}" systemctl disable --now --quiet "$service" 2>/dev/null ||
            say "could not stop the packaged $service service; check: systemctl status $service"
    done
}

if command -v dpkg-query >/dev/null && command -v apt-get >/dev/null; then
    add_node
    mapfile -t missing < <(missing_packages "${packages[@]}")
    if ((${#missing[@]})); then install_packages "${missing[@]}"; else say "all packages are installed"; fi
else
    say "not a Debian system: these must be installed by hand: ${packages[*]}"
fi
if has_system_llama; then say "llama.cpp of the system is used"; else scripts/get-llama.sh; fi
