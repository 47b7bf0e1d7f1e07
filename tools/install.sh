#!/bin/sh
# Makes .venv and installs what is missing. Usage: tools/install.sh demo|test
# A second call with nothing to do takes no time. Never asks for a password, starts and stops no service.
set -eu

wanted=${1:-demo}
cd "$(dirname "$0")/.."
venv=.venv
stamp=$venv/installed
packages="unixodbc odbc-postgresql odbc-mariadb libsqliteodbc"
case $wanted in
    demo) what=. ;;
    test)
        what='.[dev]'
        # The server alone: the package mariadb-server would also start a service.
        packages="$packages mariadb-server-core mariadb-client-core"
        ;;
    *) echo "usage: tools/install.sh demo|test" >&2; exit 2 ;;
esac

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore DEBIAN_FRONTEND=noninteractive

say() { echo "fieldline: $*"; }
fail() { say "$*" >&2; exit 1; }

missing_packages() {
    for package in $packages; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || printf ' %s' "$package"
    done
}

apt() { apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -qq "$@" >>"$venv/apt.log" 2>&1; }

# Debian's lock on the package lists has no timeout of its own.
update_lists() {
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12; do
        apt update && return
        grep -q 'Could not get lock' "$venv/apt.log" || return 1
        sleep 10
    done
    return 1
}

# shellcheck disable=SC2086  # a list of packages
install_packages() {
    missing=$(missing_packages)
    [ -n "$missing" ] || return 0
    if ! command -v apt-get >/dev/null; then
        say "for ODBC, install an ODBC driver manager (unixODBC) and the drivers of your databases"
        return 0
    fi
    if [ "$(id -u)" != 0 ]; then
        say "for ODBC, have root run: apt-get install --no-install-recommends$missing"
        say "going on without it"
        return 0
    fi
    say "installing$missing"
    : >"$venv/apt.log"
    apt install -y --no-install-recommends $missing && return 0
    update_lists && apt install -y --no-install-recommends $missing && return 0
    tail -n 5 "$venv/apt.log" >&2
    say "these could not be installed, going on without them:$missing (the log is $venv/apt.log)"
}

find_python() {
    for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3.14 python3; do
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$candidate" && return
    done
    fail "Python 3.11 or newer is not here: apt-get install python3 python3-venv, or set PYTHON"
}

make_venv() {
    python=$(find_python)
    rm -rf "$venv"
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv "$venv"
    elif "$python" -m pip --version >/dev/null 2>&1; then
        # Debian keeps ensurepip in python3-venv; its pip can fill an environment that has none.
        "$python" -m venv --without-pip "$venv"
        echo "$python" >"$venv/outer-python"
    else
        fail "this Python has neither venv nor pip: apt-get install python3-venv"
    fi
}

pip() {
    if [ -f "$venv/outer-python" ]; then
        "$(cat "$venv/outer-python")" -m pip --python "$venv/bin/python" "$@"
    else
        "$venv/bin/python" -m pip "$@"
    fi
}

# What was installed: for this place, from this pyproject.toml, with which extra.
fingerprint() { { pwd; cat pyproject.toml; } | sha256sum | cut -d ' ' -f 1; }

install_python() {
    now=$(fingerprint)
    if [ -x "$venv/bin/python" ] && "$venv/bin/python" -c '' 2>/dev/null; then
        grep -qsx -e "$now $wanted" -e "$now test" "$stamp" && return
    else
        make_venv
    fi
    say "installing Python packages into $venv"
    rm -f "$stamp"
    # Not compiled beforehand: most of what the wheels hold is never imported, and bytecode is a fifth of the folder.
    pip install --quiet --no-compile --editable "$what" || fail "pip could not install Fieldline: see above"
    echo "$now $wanted" >"$stamp"
}

# Two at once in one folder take turns.
if command -v flock >/dev/null; then
    exec 9<tools/install.sh
    flock 9
fi
install_python
install_packages
