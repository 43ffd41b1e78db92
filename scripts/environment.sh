# Sourced by scripts/demo, scripts/broker and scripts/test: system packages and a virtual environment, said before it is done.
# shellcheck shell=bash

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export OPENBLAS_NUM_THREADS=1 # the matrices of kiosk/grid.py are small: BLAS's own threads only get in each other's way

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else say "this needs root or sudo: $*"; exit 4
    fi
}

apt_install() {
    say "installing with apt: $*"
    as_root apt-get update -qq
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

# install_packages PROGRAM=PACKAGE ...: install what is missing; a name ending in .so is looked up as a library.
install_packages() {
    local missing=() pair
    for pair in "$@"; do
        local thing=${pair%%=*} package=${pair#*=}
        case $thing in
            /*) compgen -G "$thing" >/dev/null || missing+=("$package") ;;
            *.so) [[ $(PATH=$PATH:/usr/sbin:/sbin ldconfig -p) == *"$thing"* ]] || missing+=("$package") ;;
            *) PATH=$PATH:/usr/sbin:/sbin command -v "$thing" >/dev/null || missing+=("$package") ;;
        esac
    done
    [ ${#missing[@]} = 0 ] && return
    apt_install "${missing[@]}"
}

# find_python: the newest of the versions the kiosk supports that can make a virtual environment.
find_python() {
    local candidate
    for candidate in python3.13 python3.12 python3.11 python3; do
        if "$candidate" -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

# make_environment EXTRA: .venv with this project and the extra's packages, made once for each pyproject.toml.
make_environment() {
    local extra=$1 python stamp
    stamp=installed-$(cksum pyproject.toml | cut -d' ' -f1)
    [ -e ".venv/$stamp-$extra" ] || [ -e ".venv/$stamp-dev" ] && return # dev holds every other
    python=$(find_python) || { apt_install python3-venv; python=$(find_python); } || {
        say "Python 3.11 or newer is needed, with venv"
        exit 4
    }
    say "making .venv with $("$python" --version) and the packages of [$extra]; a minute or two the first time"
    [ -x .venv/bin/python ] || "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".[$extra]"
    touch ".venv/$stamp-$extra"
}
