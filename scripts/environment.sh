# Sourced by the scripts beside it: finds a Python, makes the virtual environment, installs into it.
# Every failure is one clear sentence on stderr and an exit code that is not 0.

minimum_python=3.11
needed_megabytes=1500

say() { printf '%s\n' "$*" >&2; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# Prints "3.12" for a Python that is new enough; fails for one that is not, or that does not run.
python_version() {
    "$1" -c 'import sys
version = sys.version_info[:2]
print("%d.%d" % version)
sys.exit(0 if version >= (3, 11) else 1)' 2>/dev/null
}

# Sets $python to the first one that is new enough. $PYTHON, if set, is the only candidate.
find_python() {
    local candidate version seen=
    for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3 python}; do
        command -v "$candidate" >/dev/null 2>&1 || continue
        if version=$(python_version "$candidate"); then
            python=$candidate
            return
        fi
        seen="$seen $candidate is ${version:-broken};"
    done
    die "Python $minimum_python or newer is needed;${seen:- none was found;}" \
        "on Debian 12, Ubuntu 24.04 and later: sudo apt-get install python3 python3-venv"
}

may_install() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; }

# install_system PACKAGE: from the distribution; fails where that is not possible.
install_system() {
    say "installing $1 …"
    apt-get update -qq >/dev/null 2>&1 || true # an old list of packages may do as well
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$1" >/dev/null 2>&1
}

# Makes sure that $python can make virtual environments.
need_venv_module() {
    "$python" -c 'import ensurepip, venv' 2>/dev/null && return
    local version package
    version=$(python_version "$python")
    package="python$version-venv"
    if ! may_install; then
        die "this Python cannot make virtual environments; on Debian and Ubuntu: sudo apt-get install $package"
    fi
    install_system "$package" ||
        die "cannot install $package; by hand: apt-get update && apt-get install $package"
}

# The engine of the local Llama needs OpenMP's library, which a small system may lack.
need_openmp() {
    local said
    said=$("$venv/bin/python" -c 'import xllamacpp' 2>&1 || true)
    case $said in *libgomp*) ;; *) return 0 ;; esac
    may_install && install_system libgomp1 && return
    say "the local Llama needs libgomp1, else it answers with scripted text: sudo apt-get install libgomp1"
}

need_disk() {
    local free
    free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1024) }')
    [ "${free:-0}" -ge "$needed_megabytes" ] ||
        die "$needed_megabytes MB of disk are needed in $PWD, $free MB are free"
}

# make_environment PURPOSE EXTRAS: afterwards "$venv/bin/python" runs with these extras of the
# package installed. Takes no time if nothing in pyproject.toml changed since the last call.
make_environment() {
    local purpose=$1 extras=$2 stamp fingerprint
    venv=${LLM_OBSERVE_VENV:-$PWD/.venv}
    stamp="$venv/.llm-observe-$purpose"
    fingerprint="$extras $(cksum <pyproject.toml)"
    if "$venv/bin/python" -c '' 2>/dev/null && [ "$(cat "$stamp" 2>/dev/null)" = "$fingerprint" ]; then
        return
    fi
    need_disk
    if ! "$venv/bin/python" -c '' 2>/dev/null; then
        new_environment
    fi
    say "installing llm-observe with its packages (some minutes at the first time) …"
    install -e ".[$extras]" || explain_failure
    printf '%s\n' "$fingerprint" >"$stamp" || die "cannot write $stamp"
}

new_environment() {
    find_python
    say "making the environment in $venv with $python …"
    if command -v uv >/dev/null 2>&1; then
        uv venv --quiet --clear --seed --python "$python" "$venv" || die "uv cannot make $venv"
        return
    fi
    need_venv_module
    "$python" -m venv --clear "$venv" || die "cannot make the environment in $venv"
}

# Installs with progress on the screen; what was said is in $venv/install.log.
install() {
    if command -v uv >/dev/null 2>&1; then
        uv pip install --python "$venv/bin/python" "$@" 2>&1 | tee "$venv/install.log" >&2
    else
        "$venv/bin/python" -m pip install --no-input --disable-pip-version-check --retries 2 "$@" 2>&1 |
            tee "$venv/install.log" | progress
    fi
}

# One short line for each package that pip deals with.
progress() {
    awk '/^ *(Collecting|Downloading|Building|Installing|ERROR)/ {
        line = substr($0, 1, 100); sub(/^ +/, "", line); print "  " line; fflush() }' >&2
}

explain_failure() {
    local log="$venv/install.log"
    if grep -qiE 'no space left|disk quota' "$log"; then
        die "the disk is full; free some and start again"
    elif grep -qiE 'connection|retrying|resolve|timed out|temporary failure|no matching distribution|network' "$log"; then
        die "the package index cannot be reached or lacks a package; check the network, or pip's own settings (pip config list). What pip said: $log"
    fi
    tail -n 5 "$log" >&2
    die "the packages cannot be installed; what was said: $log"
}

# The requirements of one extra, one a line.
requirements_of() {
    "$venv/bin/python" - "$1" <<'EOF'
import sys, tomllib
with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["project"]["optional-dependencies"][sys.argv[1]], sep="\n")
EOF
}
