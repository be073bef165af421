#!/bin/sh
# Set up a clone: system libraries, virtual environment, pinned packages. Does nothing where that is done already.
set -eu
cd "$(dirname "$0")/.."

EXTRAS="nuscenes,world,viewer,dev"
STAMP=.venv/.gsocc-ready

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# The folder counts too: a virtual environment does not survive being moved. So do the packages in it: an editable
# install knows those that it was made with.
wanted=$({ cat setup.cfg constraints.txt pyproject.toml; ls -d -- */__init__.py; pwd; } | sha256sum)
if [ -x .venv/bin/gsocc ] && [ "$(cat "$STAMP" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

fits() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null
}

find_python() {
    for name in python3.11 python3.12 python3; do
        if command -v "$name" >/dev/null && fits "$name"; then
            echo "$name"
            return
        fi
    done
}

# Packages whose shared library the loader does not know. open3d needs all of these to be imported, and Mesa's to draw
# without a screen. Looked up by library, because Ubuntu renames packages and libraries keep their names.
missing_packages() {
    known=$(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p 2>/dev/null) || return 0 # not Linux
    while read -r library package; do
        case "$known" in
            *"$library "*) ;;
            *) printf ' %s' "$package" ;;
        esac
    done <<LIBRARIES
libusb-1.0.so.0 libusb-1.0-0
libudev.so.1 libudev1
libidn2.so.0 libidn2-0
libX11.so.6 libx11-6
libGL.so.1 libgl1
libEGL.so.1 libegl1
libGLX_mesa.so.0 libglx-mesa0
libEGL_mesa.so.0 libegl-mesa0
libgomp.so.1 libgomp1
LIBRARIES
}

install_packages() {
    [ $# -gt 0 ] || return 0
    line="apt-get update && apt-get install -y --no-install-recommends $*"
    if [ "$(id -u)" = 0 ]; then
        root=""
    elif sudo -n true 2>/dev/null; then
        root="sudo -n"
    else
        fail "setup needs system packages. Run this, then the same make command again:" \
            "  sudo sh -c '$line'"
    fi
    command -v apt-get >/dev/null || fail "setup needs the packages $* and finds no apt-get to install them with"
    echo "setup: installing $*"
    $root env DEBIAN_FRONTEND=noninteractive sh -c "$line" >/dev/null ||
        fail "installing failed; run this yourself, then the same make command again:" "  sudo sh -c '$line'"
}

python=$(find_python)
if [ -z "$python" ]; then
    found=$(python3 --version 2>/dev/null || echo "no python3")
    fail "gsocc needs Python 3.11 or 3.12, found: $found." \
        "Install one (sudo apt-get install -y python3.12 python3.12-venv, or python3.11) and run the command again."
fi

packages=$(missing_packages)
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    packages="$packages $("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
fi
# shellcheck disable=SC2086  # one word per package
install_packages $packages

if ! [ -x .venv/bin/python ] || ! fits .venv/bin/python || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    rm -rf .venv
    "$python" -m venv .venv
fi

# torch is named in the command itself: resolved by way of a dependency it could become another build.
torch=$(grep '^torch==' constraints.txt)
echo "setup: installing $torch and the packages of constraints.txt into .venv; this takes a few minutes"
.venv/bin/python -m pip install --quiet --disable-pip-version-check "$torch" -c constraints.txt -e ".[$EXTRAS]"
.venv/bin/python -c 'import open3d, nuscenes.nuscenes' ||
    fail "the packages are installed, but the import above fails; see what is missing with .venv/bin/gsocc doctor env"
printf '%s\n' "$wanted" >"$STAMP"
echo "setup: done"
