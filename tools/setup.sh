#!/usr/bin/env bash
# Installs what is missing, and only that: Debian packages, and pinned PyPI packages into .deps/ (the system's Python
# stays as it is). With everything in place it neither touches the network nor takes time.
#
#   tools/setup.sh             to build and run; also .deps/plotly.min.js, which the build puts into the program
#   tools/setup.sh --tests     also for `make test`: a browser, and .deps/venv with the packages of requirements-test.txt
#   tools/setup.sh --fuzz      also clang with libFuzzer, for `make fuzz`
#   tools/setup.sh --format    also clang-format, for `make format` and `make lint`
#   tools/setup.sh --goldens   also torch and transformers (5 GB) in .deps/golden-venv, for `make goldens`
#   tools/setup.sh --llama-cpp also llama.cpp, built for this machine, in .deps/llama-venv, for `make compare-llama-cpp`
#
# Where it cannot install, one line names what is missing, and the exit code is 1.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(g++ cmake ninja-build pkg-config libboost1.81-dev nlohmann-json3-dev libsimdjson-dev libpcre2-dev libutf8proc-dev
  libfmt-dev libspdlog-dev libcli11-dev libgtest-dev libgmock-dev libbenchmark-dev python3 python3-venv)
venvs=() # name:requirements file
for level in "$@"; do
  case $level in
    --tests)
      packages+=(ccache chromium chromium-driver fonts-dejavu-core)
      venvs+=(venv:tools/requirements-test.txt)
      ;;
    --fuzz) packages+=(clang libclang-rt-14-dev) ;;
    --format) packages+=(clang-format) ;;
    --goldens) venvs+=(golden-venv:tools/requirements-golden.txt) ;;
    --llama-cpp) venvs+=(llama-venv:tools/requirements-llama.txt llama-venv:tools/requirements-llama-source.txt) ;;
    *) echo "setup: unknown option $level" >&2 && exit 2 ;;
  esac
done
mkdir -p .deps
log=$PWD/.deps/setup.log

fail() {
  echo "setup: $*" >&2
  exit 1
}

missing_packages() {
  comm -23 <(printf '%s\n' "${packages[@]}" | sort) \
    <(dpkg-query -W -f '${Package} ${db:Status-Abbrev}\n' "${packages[@]}" 2>/dev/null | sed -n 's/ ii *$//p' | sort -u) |
    tr '\n' ' '
}

install_packages() {
  local missing root=()
  command -v dpkg-query >/dev/null || fail "this is no Debian system; it needs what Debian calls: ${packages[*]}"
  missing=$(missing_packages)
  [ -z "$missing" ] && return
  if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || fail "missing Debian packages (no root, no sudo without a password to install them): $missing"
    root=(sudo -n)
  fi
  echo "setup: installing Debian packages: $missing"
  {
    "${root[@]}" apt-get update || true # a stale list of packages may still do
    # shellcheck disable=SC2086
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=120 $missing
  } </dev/null >"$log" 2>&1 || fail "missing Debian packages (apt-get could not install them, see $log): $(missing_packages)"
}

# Debian's own Python: another that comes first on PATH may lack venv, or be too new for the pinned wheels.
make_venv() {
  [ -e ".deps/$1/ready" ] && return
  if ! /usr/bin/python3 -m venv --clear ".deps/$1" >"$log" 2>&1; then
    fail "cannot make a Python environment in .deps/$1 (see $log)"
  fi
  touch ".deps/$1/ready"
}

# Packages of a requirements file, exactly those, by their hashes. Where one comes as source, its build uses what is installed.
install_requirements() {
  local venv=.deps/$1 file=$2
  cmp -s "$file" "$venv/${file##*/}" && return
  echo "setup: installing the Python packages of $file into $venv"
  if ! "$venv/bin/python" -m pip install --require-hashes --no-deps --no-build-isolation --no-input \
    --disable-pip-version-check -r "$file" </dev/null >"$log" 2>&1; then
    fail "missing Python packages (pip could not install them, see $log): $(sed -n 's/==.*//p' "$file" | tr '\n' ' ')"
  fi
  cp "$file" "$venv/"
}

# plotly.js (MIT) draws the charts of reports: the one file out of the PyPI package plotly, which is not installed.
fetch_plotly() {
  [ -e .deps/plotly.min.js ] && return
  echo "setup: loading plotly.js (10 MB)"
  local folder
  folder=$(mktemp -d .deps/plotly.XXXXXX)
  if ! .deps/venv/bin/python -m pip download --no-deps --require-hashes --no-input --disable-pip-version-check --progress-bar off \
    -r tools/requirements-plotly.txt -d "$folder" </dev/null >"$log" 2>&1; then
    rm -rf "$folder"
    fail "cannot load $(sed 's/ .*//' tools/requirements-plotly.txt) from PyPI (see $log); or put its plotly.min.js at .deps/ yourself"
  fi
  .deps/venv/bin/python -m zipfile -e "$folder"/*.whl "$folder"
  mv "$folder/plotly/package_data/plotly.min.js" .deps/plotly.min.js
  rm -rf "$folder"
}

install_packages
make_venv venv
fetch_plotly
for entry in "${venvs[@]}"; do
  make_venv "${entry%%:*}"
  install_requirements "${entry%%:*}" "${entry#*:}"
done
