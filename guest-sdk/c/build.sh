#!/bin/sh
# Makes a component of C sources: sh build.sh [-o FILE.wasm] FILE.c...
#
# Finds a compiler for wasm32-wasi and says what is missing: Zig as $ZIG, `zig`, or the Python package ziglang; or clang of
# a wasi-sdk, as $WASI_SDK_PATH or /opt/wasi-sdk; or the system's clang with wasi-libc. Then `roadrunner componentize`
# ($ROADRUNNER) makes the component. CFLAGS are passed on. --module stops at the core module, which `wasm-tools component
# new` and `jco new` take as well; --compiler only names the compiler.
set -eu

usage() {
    echo "usage: sh build.sh [--module] [-o FILE.wasm] FILE.c..." >&2
    exit 2
}

output=
module=
only=
while [ $# -gt 0 ]; do
    case $1 in
    --module) module=1; shift ;;
    --compiler) only=1; shift ;;
    -o) [ $# -gt 1 ] || usage; output=$2; shift 2 ;;
    -*) usage ;;
    *) break ;;
    esac
done
[ $# -gt 0 ] || [ -n "$only" ] || usage
[ -n "$output" ] || output=$(basename "${1:-}" .c).wasm

# The SDK lies beside this script, or in the folder `roadrunner` of a project.
here=$(cd "$(dirname "$0")" && pwd)
sdk=$here
[ -d "$here/roadrunner" ] && sdk=$here/roadrunner

has() {
    command -v "$1" >/dev/null 2>&1
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

# Sets `compiler` to the words of the command.
find_compiler() {
    if [ -n "${ZIG:-}" ]; then compiler="$ZIG cc"; return; fi
    if has zig; then compiler="zig cc"; return; fi
    if [ -x "$here/.venv/bin/python-zig" ]; then compiler="$here/.venv/bin/python-zig cc"; return; fi
    if has python-zig; then compiler="python-zig cc"; return; fi
    if has python3 && python3 -c 'import ziglang' 2>/dev/null; then compiler="python3 -m ziglang cc"; return; fi
    for folder in "${WASI_SDK_PATH:-}" /opt/wasi-sdk; do
        if [ -n "$folder" ] && [ -x "$folder/bin/clang" ]; then compiler="$folder/bin/clang"; return; fi
    done
    if has clang; then
        echo 'int main(void) { return 0; }' >"$scratch/probe.c"
        if clang --target=wasm32-wasi -o "$scratch/probe.wasm" "$scratch/probe.c" >/dev/null 2>&1; then
            compiler=clang
            return
        fi
        echo "clang is there, but cannot link for wasm32-wasi: it lacks lld, wasi-libc or libclang-rt-dev-wasm32." >&2
    fi
    echo "There is no C compiler for wasm32-wasi. Install one of" >&2
    echo "    Zig:      python3 -m venv .venv && .venv/bin/pip install ziglang" >&2
    echo "    wasi-sdk: and set WASI_SDK_PATH" >&2
    echo "    clang:    on Debian, apt-get install clang lld wasi-libc libclang-rt-dev-wasm32" >&2
    exit 1
}

find_compiler
if [ -n "$only" ]; then
    echo "$compiler"
    exit 0
fi
roadrunner=${ROADRUNNER:-roadrunner}
if [ -z "$module" ] && ! has "$roadrunner"; then
    echo "The program \`roadrunner\` is not on the PATH; name it with ROADRUNNER=/path/to/roadrunner." >&2
    exit 1
fi

# A request must not grow its memory: the stack is small and lies below the data, so that an overflow traps, and what a
# request usually needs of the heap is there from the start.
# Zig does the first of these itself, and refuses to be told.
first=-Wl,--stack-first
case $compiler in *" cc") first= ;; esac
core=$scratch/module.wasm
[ -z "$module" ] || core=$output
# $compiler and $CFLAGS are lists of words.
# shellcheck disable=SC2086
$compiler --target=wasm32-wasi -mexec-model=reactor -std=gnu11 -O2 -Wall -Wextra ${CFLAGS:-} \
    -ffunction-sections -fdata-sections -I "$sdk/include" -I "$sdk/bindings" \
    -o "$core" "$@" "$sdk"/src/*.c "$sdk"/bindings/*.c \
    -Wl,--gc-sections -Wl,--strip-debug $first -Wl,-z,stack-size=65536 -Wl,--initial-memory=262144
[ -n "$module" ] || "$roadrunner" componentize "$core" --output "$output"
