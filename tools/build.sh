#!/usr/bin/env bash
# Configures (once) and builds: tools/build.sh PRESET [TARGET]...   PRESET of CMakePresets.json; JOBS: parallel compilers
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
exec ninja -C "$folder" --quiet -j "${JOBS:-$(nproc)}" "$@"
