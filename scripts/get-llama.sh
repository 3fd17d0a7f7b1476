#!/usr/bin/env bash
# Builds llama.cpp once and keeps it in a cache outside the tree:
#   ${MLX_CACHE_DIR:-${XDG_CACHE_HOME:-~/.cache}/mlx-serving}/llama-0.5.0-<key>/{lib,include,link.txt}
# The key covers the flags, the compiler and the CPU (the build is -march=native), so a changed machine builds
# anew instead of crashing on an illegal instruction. The source is a git bundle inside an npm package.
#
#   scripts/get-llama.sh              build unless it is there
#   scripts/get-llama.sh --server     also bin/llama-server and bin/llama-batched-bench, for bench/
#   scripts/get-llama.sh --print-dir  only print the folder (cmake/llama.cmake asks this way)
#   scripts/get-llama.sh --force      build even if it is there
#
#   MLX_LLAMA_BUNDLE=path  use this bundle and download nothing       MLX_JOBS=n  parallel compilations
set -euo pipefail

package=node-llama-cpp@3.22.1
bundle_sha256=5f5d1105d5df040738d87b8290e5d17e7362131cdcfdb0831618e0ea528b4a51
version=0.5.0
openmp=ON

flags=(
    -DCMAKE_BUILD_TYPE=Release
    -DCMAKE_C_COMPILER=cc
    -DCMAKE_CXX_COMPILER=c++
    -DCMAKE_POSITION_INDEPENDENT_CODE=ON
    -DBUILD_SHARED_LIBS=OFF
    -DGGML_NATIVE=ON
    -DGGML_OPENMP=$openmp
    -DLLAMA_BUILD_COMMON=ON
    -DLLAMA_BUILD_TESTS=OFF
    -DLLAMA_BUILD_EXAMPLES=OFF
    -DLLAMA_BUILD_APP=OFF
    -DLLAMA_OPENSSL=OFF
    -DLLAMA_USE_PREBUILT_UI=OFF
)
# In the order the linker needs them.
archives=(libllama-common.a libllama-common-base.a libcpp-httplib.a
    libllama.a libggml.a libggml-cpu.a libggml-base.a)
servers=(llama-server llama-batched-bench)

say() { printf 'get-llama: %s\n' "$*"; }
fail() {
    printf 'get-llama: %s\n' "$@" >&2
    exit 1
}
need() { command -v "$1" >/dev/null || fail "$1 is not installed. Run \`make setup\`, which installs it${2:-}."; }

cpu_flags() {
    uname -m
    grep -m1 -E '^(flags|Features)' /proc/cpuinfo 2>/dev/null || true
}

cache_key() {
    { printf '%s\n' "$package" "${flags[@]}"; cc --version | head -n1; c++ --version | head -n1; cpu_flags; } |
        sha256sum | cut -c1-8
}

# check_bundle FILE: whether it is, byte for byte, the source this script was written for.
check_bundle() { echo "$bundle_sha256  $1" | sha256sum --check --status; }

# The bundle to build from, in the cache; from MLX_LLAMA_BUNDLE, or out of the npm package.
get_bundle() {
    if [[ -n ${MLX_LLAMA_BUNDLE:-} ]]; then
        [[ -r $MLX_LLAMA_BUNDLE ]] || fail "MLX_LLAMA_BUNDLE=$MLX_LLAMA_BUNDLE cannot be read."
        cp "$MLX_LLAMA_BUNDLE" "$work/bundle"
    elif [[ -f $bundle ]] && check_bundle "$bundle"; then
        return
    else
        need npm ", or set MLX_LLAMA_BUNDLE=path/to/gitRelease.bundle"
        say "fetching $package (36 MB) with npm"
        (cd "$work" && npm pack "$package" --loglevel=error --no-update-notifier >/dev/null) || fail \
            "npm could not fetch $package. Is there a network, and a registry npm may use?" \
            "Without one: on another machine run \`npm pack $package\`, take package/llama/gitRelease.bundle" \
            "out of the .tgz, bring it here and run: MLX_LLAMA_BUNDLE=path/to/gitRelease.bundle make setup"
        tar -xzf "$work"/node-llama-cpp-*.tgz -C "$work" package/llama/gitRelease.bundle
        mv "$work/package/llama/gitRelease.bundle" "$work/bundle"
    fi
    check_bundle "$work/bundle" || fail "The bundle is not the one of $package:" \
        "expected sha256 $bundle_sha256" "found           $(sha256sum <"$work/bundle" | cut -d' ' -f1)"
    mv "$work/bundle" "$bundle"
}

# Runs ninja; a terminal sees its own status line, a log file one line per tenth.
run_ninja() {
    local log=$work/build.log status=0
    if [[ -t 1 ]]; then
        ninja -C "$work/build" -j "$jobs" "$@" || status=$?
    else
        NINJA_STATUS='%p ' ninja -C "$work/build" -j "$jobs" "$@" 2>&1 | tee "$log" |
            awk '{ p = int($1 / 10) } $1 ~ /%$/ && p > done { done = p; printf "get-llama: %d %%\n", p * 10; fflush() }' ||
            status=$?
    fi
    ((status == 0)) && return
    [[ -f $log ]] && tail -n 40 "$log" >&2
    fail "the build failed (exit $status). Out of memory? Try MLX_JOBS=1."
}

build() {
    local extra=(-DLLAMA_BUILD_TOOLS=OFF -DLLAMA_BUILD_SERVER=OFF) targets=(llama llama-common)
    if ((with_server)); then
        extra=(-DLLAMA_BUILD_TOOLS=ON -DLLAMA_BUILD_SERVER=ON)
        targets+=("${servers[@]}")
    fi
    git -c advice.detachedHead=false clone --quiet "$bundle" "$work/src"
    # The folder is new each time; without these two ccache would never find what it has.
    export CCACHE_BASEDIR=$work CCACHE_NOHASHDIR=1
    cmake -S "$work/src" -B "$work/build" -G Ninja "${flags[@]}" "${extra[@]}" >"$work/configure.log" 2>&1 || {
        tail -n 30 "$work/configure.log" >&2
        fail "cmake could not configure llama.cpp; see above."
    }
    say "building llama.cpp $version with $jobs jobs (4 minutes on 2 cores; once)"
    run_ninja "${targets[@]}"
}

# stage DIR: libraries, headers and link.txt as cmake/llama.cmake expects them.
stage() {
    local out=$1 src=$work/src name
    mkdir -p "$out"/{lib,include/common/jinja,include/vendor}
    for name in "${archives[@]}"; do
        find "$work/build" -name "$name" -exec cp {} "$out/lib/" \;
        [[ -f $out/lib/$name ]] || fail "the build made no $name"
    done
    cp "$src"/include/*.h "$src"/ggml/include/*.h "$out/include/"
    cp "$src"/common/*.h "$src"/common/*.hpp "$out/include/common/"
    cp "$src"/common/jinja/*.h "$out/include/common/jinja/"
    cp -r "$src"/vendor/{nlohmann,sheredom} "$out/include/vendor/"
    cp "$src/LICENSE" "$out/"
    {
        printf '%s\n' "${archives[@]}"
        if grep -q '^GGML_OPENMP_ENABLED:INTERNAL=ON' "$work/build/CMakeCache.txt"; then
            sed -n 's/^OpenMP_gomp_LIBRARY:FILEPATH=//p' "$work/build/CMakeCache.txt"
        fi
    } >"$out/link.txt"
}

# install_bin DIR: each program by rename, so that none is seen half written.
install_bin() {
    local name
    mkdir -p "$1/bin"
    for name in "${servers[@]}"; do
        cp "$work/build/bin/$name" "$1/bin/.$name"
        mv "$1/bin/.$name" "$1/bin/$name"
    done
}

is_complete() {
    [[ -f $dir/link.txt ]] || return 1
    ((with_server == 0)) || [[ -x $dir/bin/llama-server && -x $dir/bin/llama-batched-bench ]]
}

with_server=0 force=0 print=0
for arg in "$@"; do
    case $arg in
    --server) with_server=1 ;;
    --force) force=1 ;;
    --print-dir) print=1 ;;
    *) fail "unknown option $arg; known are --server, --force and --print-dir" ;;
    esac
done

cache=${MLX_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:?}/.cache}/mlx-serving}
for tool in cc c++; do need $tool; done
dir=$cache/llama-$version-$(cache_key)
if ((print)); then
    echo "$dir"
    exit
fi
if ((!force)) && is_complete; then
    say "llama.cpp $version is there: $dir"
    exit
fi
for tool in git cmake ninja flock; do need $tool; done

mkdir -p "$cache"
exec 9>"$cache/lock"
flock --nonblock 9 || {
    say "another run is building; waiting for it"
    flock 9
}
if ((!force)) && is_complete; then
    say "llama.cpp $version is there: $dir"
    exit
fi

bundle=$cache/${package/@/-}.bundle
jobs=${MLX_JOBS:-$(nproc)}
work=$(mktemp -d "$cache/.build-XXXXXX")
trap 'rm -rf "$work"' EXIT
get_bundle
say "source: $bundle (sha256 $bundle_sha256)"
build
stage "$work/stage"
((with_server)) && install_bin "$work/stage"
if [[ -d $dir && $force == 0 && -f $dir/link.txt ]]; then
    install_bin "$dir" # the libraries are there and perhaps in use; only the programs were missing
else
    rm -rf "$dir"
    mv "$work/stage" "$dir"
fi
say "installed: $dir"
