#!/usr/bin/env bash
# compute-sanitizer over the op suite on a GPU: memory, races, uninitialized reads, barriers.
#
#   tools/gpu/sanitize.sh OUT [TOOL]...     memcheck racecheck initcheck synccheck by default; BIN as for test.sh
#
# FILTER: gtest filter of the op suite (by default what covers every kernel once; all of it takes hours).
set -uo pipefail
cd "$(dirname "$0")/../.."
out=$1
shift
bin=$(realpath "${BIN:-build}")
filter=${FILTER:-*RowOps*/cuda:*SampleOps*/cuda:*AttentionOps.AgreesWithTheReference/cuda}
tools=("$@")
[ ${#tools[@]} -gt 0 ] || tools=(memcheck racecheck initcheck synccheck)
mkdir -p "$out"
export LD_LIBRARY_PATH=$bin${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} OCTET_REQUIRE_CUDA=1
command -v compute-sanitizer >/dev/null || { echo "sanitize: compute-sanitizer is not there: it comes with CUDA's toolkit" >&2 && exit 1; }
status=0
for tool in "${tools[@]}"; do
  if timeout "${LIMIT:-3600}" compute-sanitizer --tool "$tool" --error-exitcode 9 "$bin/octet_backend_test" --gtest_filter="$filter" \
    --gtest_brief=1 >"$out/$tool.log" 2>&1; then
    echo "$tool: clean"
  else
    echo "$tool: $(grep -E 'ERROR SUMMARY|RACECHECK SUMMARY|FAILED' "$out/$tool.log" | tail -n 1)"
    grep -m 3 -A 6 "Invalid\|Race\|Uninitialized\|Barrier error" "$out/$tool.log"
    status=1
  fi
done
exit $status
