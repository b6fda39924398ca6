#!/bin/sh
# Installs Roadrunner from the folder of a release, whose address is given:
#
#     sh install.sh [--prefix DIR] [--sha256 HEX] ADDRESS
#     sh install.sh --uninstall [--prefix DIR]
#
# Everything goes below DIR, by default ~/.local: bin/roadrunner, share/man, completions. The archive has to have the
# digest that SHA256SUMS of the same folder lists, and with --sha256 the one that you give. Nothing is installed before
# that is checked. Addresses are https://, or http:// of this machine.
set -eu

fail() {
    echo "install.sh: $*" >&2
    exit 1
}

usage() {
    echo "usage: sh install.sh [--prefix DIR] [--sha256 HEX] ADDRESS" >&2
    echo "       sh install.sh --uninstall [--prefix DIR]" >&2
    exit 2
}

# A part of a script that was cut on its way defines functions and runs nothing.
main() {
    prefix=${HOME:-}/.local digest= address= uninstall=
    while [ $# -gt 0 ]; do
        case $1 in
        --prefix) [ $# -gt 1 ] || usage; prefix=$2; shift 2 ;;
        --sha256) [ $# -gt 1 ] || usage; digest=$2; shift 2 ;;
        --uninstall) uninstall=1; shift ;;
        -*) usage ;;
        *) [ -z "$address" ] || usage; address=${1%/}; shift ;;
        esac
    done
    list=$prefix/share/doc/roadrunner/FILES
    if [ -n "$uninstall" ]; then
        [ -z "$address" ] || usage
        uninstall
    else
        [ -n "$address" ] || usage
        install
    fi
}

install() {
    case $address in
    https://*) protocol==https ;;
    http://127.0.0.1:* | http://127.0.0.1/* | http://localhost:* | http://localhost/*) protocol==http ;;
    *) fail "$address is neither https:// nor http:// of this machine" ;;
    esac
    [ "$(uname -s)" = Linux ] || fail "there is no release for $(uname -s)"
    for tool in curl sha256sum tar; do
        command -v "$tool" >/dev/null 2>&1 || fail "$tool is not installed"
    done
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    trap 'exit 1' HUP INT TERM

    fetch SHA256SUMS
    machine=$(uname -m)
    name=$(sed -n "s/^[0-9a-f]\{64\}  \(roadrunner-[0-9A-Za-z.+-]*-$machine-linux\.tar\.gz\)$/\1/p" "$scratch/SHA256SUMS")
    case $name in
    '') fail "$address has no release for $machine" ;;
    *"
"*) fail "$address has more than one release for $machine" ;;
    esac
    fetch "$name"
    (cd "$scratch" && grep -F "  $name" SHA256SUMS | sha256sum --check --status --strict -) ||
        fail "$name has not the digest that SHA256SUMS lists: nothing is installed"
    if [ -n "$digest" ]; then
        echo "$digest  $scratch/$name" | sha256sum --check --status --strict - ||
            fail "$name has not the digest $digest: nothing is installed"
    fi
    mkdir "$scratch/files"
    tar -xzf "$scratch/$name" -C "$scratch/files" --strip-components=1 --no-same-owner
    mkdir -p "$prefix"
    # A running program keeps its file: the new one takes its name, and no byte of the old one.
    cp -R --remove-destination "$scratch/files/." "$prefix/"
    echo "installed $("$prefix/bin/roadrunner" --version) in $prefix"
    case :${PATH:-}: in
    *":$prefix/bin:"*) ;;
    *) echo "put $prefix/bin on the PATH" ;;
    esac
}

uninstall() {
    [ -f "$list" ] || fail "there is no Roadrunner in $prefix"
    files=$(cat "$list")
    printf '%s\n' "$files" | while IFS= read -r file; do
        case $file in /* | *..*) fail "$list names $file" ;; esac
        rm -f "$prefix/$file"
    done
    rmdir "$prefix/share/doc/roadrunner" 2>/dev/null || true
    echo "removed Roadrunner from $prefix"
}

fetch() {
    curl --fail --silent --show-error --location --proto "$protocol" --output "$scratch/$1" "$address/$1" ||
        fail "cannot fetch $address/$1"
}

main "$@"
