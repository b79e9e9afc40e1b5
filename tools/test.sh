#!/usr/bin/env bash
# Everything `make test` does, stage by stage, each with its time; goes on after a failed suite, stops after a failed build.
#
#   tools/test.sh [release|asan|tsan]...     all three by default; JOBS: parallel compilers and test programs
set -uo pipefail
cd "$(dirname "$0")/.."
export JOBS=${JOBS:-$(nproc)}
failed=()
times=()

# stage must|may NAME COMMAND...: `must` ends the run where it fails.
stage() {
  local need=$1 name=$2 start=$SECONDS
  shift 2
  echo "=== $name"
  if "$@"; then
    times+=("$(printf '%5d s  %s' $((SECONDS - start)) "$name")")
  else
    times+=("$(printf '%5d s  %s: FAILED' $((SECONDS - start)) "$name")")
    failed+=("$name")
    [ "$need" = may ] || finish
  fi
}

finish() {
  echo "=== times"
  printf '%s\n' "${times[@]}"
  if [ ${#failed[@]} -gt 0 ]; then
    printf 'failed: %s\n' "${failed[@]}"
    exit 1
  fi
  exit 0
}

run_ctest() {
  ctest --output-on-failure --no-tests=error -j "$JOBS" "$@"
}

# pytest runs inside ctest: its own closing lines are in ctest's log.
release_suites() {
  run_ctest --test-dir build
  local status=$?
  grep -hE '^[0-9]+ (passed|failed|skipped|error).* in [0-9.]+s' build/Testing/Temporary/LastTest.log
  return $status
}

# Builds the unit test programs of some folders of src/: PRESET, FOLDER_REGEX, further targets.
build_unit_tests() {
  local preset=$1 folders=$2
  shift 2
  tools/build.sh "$preset" build.ninja || return
  ninja -C "build-$preset" -t targets all | grep -oP "^octet_($folders)_test(?=:)" | xargs tools/build.sh "$preset" "$@"
}

asan_build() {
  build_unit_tests asan '(?!e2e).*' fuzz_targets
}

asan_suites() {
  run_ctest --test-dir build-asan -L 'unit|fuzz'
}

tsan_build() {
  build_unit_tests tsan 'base|engine|server'
}

# ThreadSanitizer's shadow memory does not fit every layout that address randomization makes.
tsan_suites() {
  local fixed_layout=()
  setarch -R true 2>/dev/null && fixed_layout=(setarch -R)
  TSAN_OPTIONS=halt_on_error=1 "${fixed_layout[@]}" \
    ctest --output-on-failure --no-tests=error -j "$JOBS" --test-dir build-tsan -R '^(base|engine|server)$'
}

stages=${*:-release asan tsan}
stage must "set-up" tools/setup.sh --tests
for name in $stages; do
  case $name in
    release)
      stage must "model" tools/fetch_model.sh models/smollm2-135m-instruct.gguf
      stage must "build (release)" tools/build.sh release
      stage may "tests (release)" release_suites
      ;;
    asan)
      stage must "build (AddressSanitizer, UBSan)" asan_build
      stage may "unit tests and fuzz targets (AddressSanitizer, UBSan)" asan_suites
      ;;
    tsan)
      stage must "build (ThreadSanitizer)" tsan_build
      stage may "engine and server tests (ThreadSanitizer)" tsan_suites
      ;;
    *) echo "test: unknown stage $name (release, asan, tsan)" >&2 && exit 2 ;;
  esac
done
finish
