#!/usr/bin/env bash
# Fetches clients that speak HTTP/3 and that this Debian does not have: curl from testing, gtlsclient (ngtcp2) from
# stable. They are unpacked into a folder and installed nowhere; each runs with the libraries that came with it.
#
#   tests/clients/http3.sh FOLDER
#
# Needs Debian's apt and its keyring, and the network. Without them it says so and fails, and the tests that would use
# the clients say SKIPPED.
set -euo pipefail

folder=${1:?usage: http3.sh FOLDER}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

if [[ -x $folder/curl && -x $folder/gtlsclient ]]; then exit 0; fi
for tool in apt-get apt-cache dpkg-deb; do
    command -v "$tool" >/dev/null || { echo "no HTTP/3 clients: there is no $tool" >&2; exit 1; }
done
[[ -f $keyring ]] || { echo "no HTTP/3 clients: there is no $keyring" >&2; exit 1; }
# Where this machine gets Debian from.
mirror=${DEBIAN_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' | grep '/debian/$' | head -n 1)}
[[ -n $mirror ]] || { echo "no HTTP/3 clients: apt knows no mirror of Debian; name one in DEBIAN_MIRROR" >&2; exit 1; }
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

# fetch SUITE PACKAGE PROGRAM: the package with all that it needs, and a script that starts the program with it.
fetch() {
    local suite=$1 package=$2 program=$3 apt=$folder/apt-$1 root=$folder/$1
    mkdir -p "$apt"/{state/lists/partial,cache/archives/partial,debs} "$root"
    touch "$apt/status"
    echo "deb [signed-by=$keyring] $mirror $suite main" >"$apt/sources.list"
    # Nothing of the system's own apt is read or changed.
    local options=(-qq -o "Dir::Etc::SourceList=$apt/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State=$apt/state"
        -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt/cache" -o APT::Sandbox::User=root
        -o Acquire::Languages=none)
    apt-get "${options[@]}" update
    local needed
    needed=$(apt-cache "${options[@]}" depends --recurse --no-recommends --no-suggests --no-conflicts --no-breaks \
        --no-replaces --no-enhances "$package" | grep '^[a-z0-9]' | sort -u)
    # shellcheck disable=SC2086 # one word for each package
    (cd "$apt/debs" && apt-get "${options[@]}" download $needed)
    local deb
    for deb in "$apt"/debs/*.deb; do dpkg-deb --extract "$deb" "$root"; done
    local loader libraries
    loader=$(find "$root" -name 'ld-linux*.so.*' -print -quit)
    libraries=$(find "$root" -name 'libc.so.6' -printf '%h:')
    [[ -n $loader && -x $root/usr/bin/$program ]] || { echo "no HTTP/3 clients: $suite's $package has no $program" >&2; exit 1; }
    printf '#!/bin/sh\nexec "%s" --library-path "%s" "%s" "$@"\n' "$loader" "${libraries%:}" "$root/usr/bin/$program" \
        >"$folder/$program"
    chmod +x "$folder/$program"
    rm -rf "$apt"
}

fetch forky curl curl
fetch trixie ngtcp2-client gtlsclient
"$folder/curl" --version | grep -q HTTP3 || { echo "no HTTP/3 clients: this curl has no HTTP/3" >&2; rm "$folder/curl"; exit 1; }
"$folder/gtlsclient" --help >/dev/null 2>&1 || { echo "no HTTP/3 clients: gtlsclient does not start" >&2; rm "$folder/gtlsclient"; exit 1; }
