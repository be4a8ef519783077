#!/bin/sh
# Makes .venv in the project's root and installs the project into it, once for each state of the files that say what to install.
# Honours PIP_* as they are. Safe to call at any time, from any folder, and twice at once.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd -P)
python=${PYTHON:-python3}

fail() {
    echo "setup: $*" >&2
    exit 1
}

command -v "$python" >/dev/null 2>&1 || fail "no $python on PATH; install Python 3.11 or newer, or set PYTHON"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is too old; Python 3.11 or newer is needed (set PYTHON to choose one)"

key=$({
    echo "$root"
    "$python" -c 'import sys; print(sys.implementation.cache_tag)'
    cat pyproject.toml generated/pyproject.toml clients/python/pyproject.toml constraints.txt tools/setup.sh
} | sha256sum | cut -d' ' -f1)
stamp=.venv/.paycenter-installed
is_current() { [ -x .venv/bin/python ] && [ "$(cut -d' ' -f1 "$stamp" 2>/dev/null)" = "$key" ]; }
is_current && exit 0

# Two commands at once: one installs, the other waits. The lock ends with the process that holds it.
if [ -z "${PAYCENTER_SETUP_LOCKED:-}" ] && command -v flock >/dev/null 2>&1; then
    PAYCENTER_SETUP_LOCKED=1 exec flock "$root/tools/setup.sh" sh "$root/tools/setup.sh"
fi
is_current && exit 0

# A virtual environment that was copied or moved along with its folder points to the old one.
if [ -d .venv ] && { [ ! -x .venv/bin/python ] || { [ -f "$stamp" ] && [ "$(cut -d' ' -f2- "$stamp")" != "$root" ]; }; }; then
    rm -rf .venv
fi

if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    echo "setup: making $root/.venv with $("$python" --version)"
    if ! "$python" -m venv .venv >.venv-output 2>&1; then
        # Debian leaves ensurepip to the package python3-venv; the system's pip can serve a bare environment instead.
        rm -rf .venv
        if "$python" -m pip --version >/dev/null 2>&1 && "$python" -m venv --without-pip .venv; then
            echo "setup: $python has no ensurepip; its pip installs pip into .venv"
            "$python" -m pip --python .venv/bin/python install --quiet pip || {
                rm -rf .venv .venv-output
                fail "could not put pip into .venv; install python3-venv (apt-get install python3-venv) and try again"
            }
        else
            cat .venv-output >&2
            rm -rf .venv .venv-output
            fail "could not make .venv; install python3-venv (apt-get install python3-venv) and try again"
        fi
    fi
    rm -f .venv-output
fi

echo "setup: installing into $root/.venv (a minute or two the first time)"
if [ -t 1 ]; then quiet=; else quiet=--quiet; fi
export PIP_DISABLE_PIP_VERSION_CHECK="${PIP_DISABLE_PIP_VERSION_CHECK:-1}"
# shellcheck disable=SC2086
.venv/bin/python -m pip install $quiet -c constraints.txt pip setuptools
# shellcheck disable=SC2086
.venv/bin/python -m pip install $quiet -c constraints.txt --no-build-isolation \
    -e ./generated -e ./clients/python -e '.[dev]'
echo "$key $root" >"$stamp"
echo "setup: done"
