#!/bin/sh
# Builds FFCV into the environment of the peers where this machine can; says in one line where it cannot.
# install_ffcv.sh UV PYTHON
set -eu
uv=$1 python=$2
packages="g++ libopencv-dev libturbojpeg0-dev pkg-config"

without() {
    echo "peers without FFCV: $1"
    exit 0
}

present() {
    command -v g++ >/dev/null && command -v pkg-config >/dev/null &&
        pkg-config --exists opencv4 libturbojpeg
}

"$uv" pip show --quiet --python "$python" ffcv 2>/dev/null && exit 0
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' ||
    without "it needs Python 3.11; make clean, then make peers PYTHON=python3.11"
if ! present; then
    { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; } ||
        without "it needs the Debian packages $packages; install them, then make peers"
    # shellcheck disable=SC2086  # a list
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
        --no-install-recommends $packages; } >/dev/null 2>&1 ||
        without "apt-get could not install $packages"
fi
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! "$uv" pip install --quiet --python "$python" --no-deps --no-build-isolation ffcv==1.0.2 2>"$log"; then
    tail -n 20 "$log" >&2
    without "its build failed, see above"
fi
