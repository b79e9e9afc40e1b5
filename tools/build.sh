#!/usr/bin/env bash
# Configures (once) and builds: tools/build.sh PRESET [TARGET]...   PRESET of CMakePresets.json; JOBS: parallel compilers
# On a terminal ninja's own progress shows; elsewhere a line every tenth of a long build, and what compilers say.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=$1
shift
folder=build
[ "$preset" = release ] || folder=build-$preset

if ! [ -e "$folder/build.ninja" ]; then
  launcher=()
  if command -v ccache >/dev/null; then launcher=(-DCMAKE_CXX_COMPILER_LAUNCHER=ccache); fi
  cmake --preset "$preset" "${launcher[@]}" --log-level=WARNING
fi

tenths() {
  local last=0 status='^\[([0-9]+)/([0-9]+)\] '
  while IFS= read -r line; do
    if [[ $line == "ninja: "*"no work to do." || $line == "ninja: Entering"* ]]; then
      continue
    elif ! [[ $line =~ $status ]]; then
      printf '%s\n' "$line"
    elif ((BASH_REMATCH[2] >= 50 && 10 * BASH_REMATCH[1] / BASH_REMATCH[2] > last)); then
      last=$((10 * BASH_REMATCH[1] / BASH_REMATCH[2]))
      printf 'build: %s of %s\n' "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
    fi
  done
}

build=(ninja -C "$folder" -j "${JOBS:-$(nproc)}" "$@")
if [ -t 1 ]; then exec "${build[@]}"; fi
NINJA_STATUS='[%f/%t] ' "${build[@]}" | tenths
