#!/bin/sh
# Brings .venv to what requirements.lock says, and the project itself into it, editable.
# It may be run at any time, and again after any failure: it keeps what is right already.
# Usage: tools/setup.sh [PYTHON]
set -eu
cd "$(dirname "$0")/.."
venv=$(pwd -P)/.venv

say() { echo "setup: $*"; }
stop() { echo "setup: $*" >&2; exit 1; }

# The first Python that fits; else one that lacks only what can be installed; else any.
choose() {
    spare='' any=''
    for candidate in python3 python3.11 python3.12 python3.13; do
        "$candidate" tools/check_environment.py >/dev/null 2>&1 && status=0 || status=$?
        case $status in
            0) echo "$candidate"; return ;;
            1) any=${any:-$candidate} ;;
            3) spare=${spare:-$candidate} ;;
        esac
    done
    echo "${spare:-${any:-python3}}"
}

version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

# Its scripts hold its path: one that was copied or moved here runs the packages of another place.
usable() { "$venv/bin/pip" --version 2>/dev/null | grep -qF "$venv/"; }

asked=${1:-}
python=$asked
if [ -z "$python" ]; then
    if usable; then python=$venv/bin/python; else python=$(choose); fi
fi
"$python" -c '' 2>/dev/null ||
    stop "no Python runs as '$python'; install Python 3.11, then: make setup PYTHON=/path/to/python3.11"
verdict=$("$python" tools/check_environment.py) || stop "$verdict"

if ! usable || [ "$(version "$python")" != "$(version "$venv/bin/python")" ]; then
    say "creating .venv with Python $(version "$python")"
    "$python" -m venv --clear "$venv" || stop "python -m venv failed, see above; fix it, then run make again"
fi

again="see above; when the package index can be reached, run make again: downloads are kept"
uv=$(sed -n 's/^uv==\([^ ]*\).*/\1/p' requirements.lock)
if [ "$("$venv/bin/uv" --version 2>/dev/null | cut -d ' ' -f 2)" != "$uv" ]; then
    say "fetching uv $uv, which installs the rest"
    sed -n '/^uv==/,/^ *# via/p' requirements.lock |
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
            --require-hashes -r /dev/stdin || stop "uv could not be fetched, $again"
fi

say "installing the packages of requirements.lock (3 GB and some minutes the first time)"
# The few packages that have no wheel are built with the locked setuptools.
"$venv/bin/uv" pip sync --quiet --python "$venv/bin/python" --require-hashes \
    --build-constraints requirements.lock requirements.lock || stop "packages could not be installed, $again"
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --no-build-isolation \
    --editable . || stop "the project itself could not be installed, see above"
say "done"
