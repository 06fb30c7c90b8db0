#!/bin/sh
# Install what is missing: Debian packages, then .venv from Debian's own Python with the locked versions.
# Usage: molecule/shared/setup.sh controller|lab     (lab includes controller)
set -eu

want=$1
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
venv=$project/.venv
log=$project/build/logs/setup.log
started=$(date +%s)

refuse() {
    echo "setup: $1" >&2
    exit 1
}

if [ "$want" = controller ]; then
    wanted=$(sed -n '/^\[controller\]/,/^\[lab\]/p' "$here/machine.packages" | grep -v '^[[#]')
else
    wanted=$(grep -v '^[[#]' "$here/machine.packages")
fi
command -v apt-get >/dev/null || refuse "this machine has no apt: use Debian 12, or a virtual machine with it"
missing=
for entry in $wanted; do
    package=${entry%%>=*}
    # shellcheck disable=SC2016  # the dollars are dpkg-query's
    found=$(dpkg-query -W -f '${db:Status-Status} ${Version}' "$package" 2>/dev/null) || found=
    if [ "${found% *}" != installed ]; then
        missing="$missing $package"
    elif [ "$entry" != "$package" ] && ! dpkg --compare-versions "${found#* }" ge "${entry#*>=}" 2>/dev/null; then
        missing="$missing $package"
    fi
done

mkdir -p "$project/build/logs"
if [ -n "$missing" ]; then
    [ "$(id -u)" = 0 ] || refuse "run as root: sudo make ${MAKECMDGOALS:-setup} (to install:$missing)"
    echo "setup: installing Debian packages:$missing"
    # Words are split on purpose: one package each.
    # shellcheck disable=SC2086
    { apt-get update --quiet && DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet \
        --no-install-recommends $missing; } >"$log" 2>&1 </dev/null || {
        tail -n 5 "$log" >&2
        refuse "apt-get failed; all it said is in build/logs/setup.log; mend that and run make again"
    }
fi

# A Python from elsewhere may come first on the PATH; the lock file is made for Debian's.
python=/usr/bin/python3
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    refuse "Python 3.11 or newer is needed, this machine has $("$python" -V): use Debian 12"
if ! cmp -s "$project/requirements.lock" "$venv/requirements.lock" || [ ! -x "$venv/bin/ansible-playbook" ]; then
    echo "setup: making .venv with the locked versions"
    {
        "$python" -m venv --clear "$venv"
        # The lock file is the whole answer. Without --no-deps pip looks for another one by itself, and fails on the
        # day that a newer release of a package appears which the lock names without its extra.
        "$venv/bin/pip" install --quiet --disable-pip-version-check --no-input --no-deps --require-hashes \
            --requirement "$project/requirements.lock"
    } >"$log.pip" 2>&1 </dev/null || {
        tail -n 5 "$log.pip" >&2
        refuse "the locked versions could not be installed; all of it is in build/logs/setup.log.pip"
    }
    cp "$project/requirements.lock" "$venv/requirements.lock"
fi
touch "$venv/.ready-$want"
[ "$want" = controller ] || touch "$venv/.ready-controller"
echo "setup: ready ($(($(date +%s) - started)) s)"
