#!/bin/sh
# Installs the store servers that tests run: Ceph's S3 gateway and iproute2 from Debian's packages, OpenStack
# Swift into an environment of its own. Quick where they are there; says in one line what it could not install.
# install.sh UV PYTHON SWIFT_VENV
set -eu
uv=$1 python=$2 swift=$3
packages="ceph-mon ceph-osd radosgw ceph-common iproute2"
lock=$(dirname "$0")/swift.lock

if ! cmp -s "$lock" "$swift/.installed"; then
    "$uv" venv --quiet --clear --python "$python" "$swift"
    "$uv" pip install --quiet --compile-bytecode --python "$swift/bin/python" -r "$lock"
    cp "$lock" "$swift/.installed"
fi

present() {
    command -v ceph-mon && command -v ceph-osd && command -v radosgw-admin && command -v ceph && command -v ip
} >/dev/null

present && exit 0
without="servers without Ceph: its tests are skipped;"
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "$without it needs the Debian packages $packages; install them, then make servers"
    exit 0
fi
policy=/usr/sbin/policy-rc.d # keeps the packages from starting services of their own
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod +x $policy
    trap 'rm -f $policy' EXIT
fi
log=$(mktemp)
# shellcheck disable=SC2086  # a list
if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
    --no-install-recommends $packages; } >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    echo "$without apt-get could not install $packages, see above"
fi
rm -f "$log"
