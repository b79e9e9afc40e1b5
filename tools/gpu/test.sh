#!/usr/bin/env bash
# Every correctness test of the CUDA backend, on a machine with a Hopper GPU. Fails where there is none.
#
#   tools/gpu/test.sh OUT      writes OUT/*.json, OUT/summary.json last
#
# BIN: the folder of programs (build, or what tools/gpu/bundle.sh made). The comparison with the CPU backend needs
# models/smollm2-135m-instruct.gguf (`make model`); without it that test says that it was skipped.
set -uo pipefail
cd "$(dirname "$0")/../.."
out=$1
bin=$(realpath "${BIN:-build}")
mkdir -p "$out"
export LD_LIBRARY_PATH=$bin${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} OCTET_REQUIRE_CUDA=1
failed=()

stage() { # NAME COMMAND...
  local name=$1 start=$SECONDS
  shift
  if "$@" >"$out/$name.log" 2>&1; then
    echo "passed  $name ($((SECONDS - start)) s)"
  else
    echo "FAILED  $name ($((SECONDS - start)) s)"
    grep -E "FAILED|Failure|error|skipped|actual|expected" "$out/$name.log" | head -n "${FAILURE_LINES:-15}"
    failed+=("$name")
  fi
}

"$bin/octet" devices --json | tee "$out/devices.json" | grep -E '"name"|problem'
for check in "$bin"/octet_*_check; do
  case $check in *_time_check) continue ;; esac
  stage "$(basename "$check")" "$check"
done
stage ops "$bin/octet_backend_test" --gtest_filter='*cuda*:CudaOps.*' --gtest_output="json:$out/ops.json" --gtest_brief=1
stage model "$bin/octet_model_test" --gtest_filter='*Cuda*:*cuda*' --gtest_output="json:$out/model.json" --gtest_brief=1
stage engine "$bin/octet_engine_test" --gtest_filter='*Cuda*' --gtest_output="json:$out/engine.json"
stage faults env BIN="$bin" python3 tools/gpu/faults.py
grep -h "KL\|log probabilities" "$out/model.log" "$out/engine.log"
python3 - "$out" "${failed[@]}" <<'END'
import json, pathlib, sys
out = pathlib.Path(sys.argv[1])
summary = {"devices": json.loads((out / "devices.json").read_text())["devices"], "failed": sys.argv[2:]}
for name in ("ops", "model", "engine"):
    path = out / f"{name}.json"
    if path.exists():
        report = json.loads(path.read_text())
        tests = [t for suite in report["testsuites"] for t in suite["testsuite"]]
        summary[name] = {"tests": len(tests), "failures": report["failures"], "timestamp": report["timestamp"],
                         "skipped": sum(t["result"] == "SKIPPED" for t in tests)}
(out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
print({name: summary.get(name) for name in ("ops", "model", "engine")})
END
[ ${#failed[@]} = 0 ]
