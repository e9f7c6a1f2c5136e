#!/bin/sh
# Makes or repairs the private environment .venv from the lock, and does nothing when it is as it should be.
#   scripts/setup.sh run    what the service needs
#   scripts/setup.sh celery what it needs with several workers
#   scripts/setup.sh dev    what the tests and checks need besides
#   scripts/setup.sh lock   resolves requirements*.txt anew into the locks
# Nothing is written outside this checkout except uv's cache.
set -eu
CDPATH= cd -- "$(dirname -- "$0")/.."
umask 022
# Bytecode compiled now halves every start; another environment's variables must not lead astray.
unset PYTHONDONTWRITEBYTECODE PYTHONHOME PYTHONPATH VIRTUAL_ENV UV_PYTHON UV_SYSTEM_PYTHON

say() { printf 'setup: %s\n' "$*"; }
fail() { say "$*" >&2; exit 1; }

# What takes long, in the background: whatever ends this script is heard at once, and ends that too.
growth='' worker=''
# A shell that was forked just now may miss a milder signal, and would then show growth for ever.
trap 'kill -KILL $growth 2>/dev/null || :; kill $worker 2>/dev/null || :; wait' EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
work() {
    "$@" &
    worker=$!
    wait "$worker" && worker=''
}

stamp_of() {
    printf '%s %s %s\n' "$1" "$(cat "requirements$2.lock" pyproject.toml | sha256sum | cut -d ' ' -f 1)" "$PWD"
}
# The tests' environment holds that of several workers, and that the service's.
holders_of() {
    case $1 in
        run) echo run celery dev ;;
        celery) echo celery dev ;;
        dev) echo dev ;;
    esac
}
suffix_of() { [ "$1" = run ] || printf -- '-%s' "$1"; }
is_ready() {
    [ -f .venv/stamp ] && .venv/bin/python -c '' 2>/dev/null || return 1
    for holder in $(holders_of "$1"); do
        ! grep -qxF "$(stamp_of "$holder" "$(suffix_of "$holder")")" .venv/stamp || return 0
    done
    return 1
}

find_uv() {
    uv=uv
    uv --version >/dev/null 2>&1 && return
    uv=.venv.uv/bin/uv
    "$uv" --version >/dev/null 2>&1 && return
    say 'fetching uv, which installs the packages'
    rm -rf .venv.uv
    { work python3 -m venv .venv.uv &&
        work .venv.uv/bin/python -m pip install --quiet --disable-pip-version-check 'uv>=0.5,<1'; } ||
        fail 'uv could not be fetched. Install it (https://docs.astral.sh/uv), or install python3-venv, and try again'
}

# Packages by the thousand files: shows that something happens. Its last sleep must not hold up who reads our output.
show_growth() {
    seconds=0
    while sleep 1 >/dev/null 2>&1 && kill -0 "$1" 2>/dev/null; do
        seconds=$((seconds + 1))
        [ $((seconds % 5)) -ne 0 ] || say "  $(du -sm .venv | cut -f 1) MB after $seconds s"
    done
}

kind=${1:-run}
case $kind in
    run | celery | dev | lock) ;;
    *) fail "unknown: $kind; use run, celery, dev or lock" ;;
esac
[ "$kind" = lock ] || ! is_ready "$kind" || exit 0

exec 9>>.venv.lock
flock -n 9 || fail "another setup (process $(cat .venv.lock)) is at work on $PWD; wait for it, or stop it: kill $(cat .venv.lock)"
echo $$ >.venv.lock
[ "$kind" = lock ] || ! is_ready "$kind" || exit 0

find_uv
# pip's settings for the package index are uv's too.
[ -z "${PIP_INDEX_URL:-}" ] || export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}"
export UV_PYTHON_INSTALL_DIR="$PWD/.venv.python"

if [ "$kind" = lock ]; then
    compile='pip compile --quiet --generate-hashes --no-header --python-version 3.11'
    work "$uv" $compile requirements.txt --output-file requirements.lock
    work "$uv" $compile requirements-celery.txt --constraint requirements.lock --output-file requirements-celery.lock
    work "$uv" $compile requirements-dev.txt --constraint requirements-celery.lock --output-file requirements-dev.lock
    exit 0
fi

# An environment without a stamp was left half made, and one of another place points there.
if ! { [ -f .venv/stamp ] && [ "$(cut -d ' ' -f 3- .venv/stamp)" = "$PWD" ] && .venv/bin/python -c '' 2>/dev/null; }; then
    say 'making .venv'
    rm -rf .venv
    work "$uv" venv --quiet --python 3.11 .venv ||
        fail 'no Python 3.11 was found, and uv could fetch none from GitHub. Install python3.11 (Debian 12 has it; elsewhere' \
            'by pyenv), or name a mirror in UV_PYTHON_INSTALL_MIRROR, and try again'
else
    # What is there for more stays there.
    for holder in $(holders_of "$kind"); do
        ! grep -q "^$holder " .venv/stamp || kind=$holder
    done
fi
suffix=$(suffix_of "$kind")
rm -f .venv/stamp

say "installing the packages of requirements$suffix.lock (3.6 GB; minutes the first time)"
show_growth $$ 9>&- &
growth=$!
export VIRTUAL_ENV="$PWD/.venv"
# Nothing is compiled, as pyproject.toml tells uv: a fresh machine has no compiler.
work "$uv" pip sync --quiet --compile-bytecode --require-hashes "requirements$suffix.lock" ||
    fail 'the packages could not be installed; uv says why above. Where a package has no usable wheel, this machine is' \
        'not Linux on x86-64 with glibc 2.34 or later, or the lock names a package that must be compiled, and must not'
work "$uv" pip install --quiet --no-deps --no-build-isolation --editable .
stamp_of "$kind" "$suffix" >.venv/stamp
say 'done'
