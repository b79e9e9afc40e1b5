#!/usr/bin/env bash
# Llama-3.1-8B's shape on one Hopper GPU: output tokens a second by workload, scheme, KV cache and max batch, beside vLLM's and the limit.
#
#   tools/gpu/table.sh OUT [SCHEME:KV]...    default: bf16:auto fp8:auto int8-minmax:auto fp8:fp8 int8-minmax:int8
#
# OUT is a folder; OUT/rows.jsonl keeps what was measured (an interrupted run goes on), OUT/h100-table.json is the table.
# OCTET_BIN: the program (build/octet), with liboctet_cuda.so beside it. BATCHES: max batch sizes (1,16,64,256).
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$1
shift
variants=("${@:-}")
[ -n "${variants[0]}" ] || variants=(bf16:auto fp8:auto int8-minmax:auto fp8:fp8 int8-minmax:int8)
octet=${OCTET_BIN:-build/octet}
batches=${BATCHES:-1,16,64,256}
mkdir -p "$out"
command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version --format=csv,noheader

for variant in "${variants[@]}"; do
  for workload in 2048/128:2 128/2048:1; do # requests: max batch times this
    "$octet" bench sweep --backend cuda --random-weights llama-3.1-8b --schemes "${variant%%:*}" --kv-dtypes "${variant#*:}" \
      --workloads "${workload%%:*}" --max-batches "$batches" --requests-per-sequence "${workload#*:}" --max-step-tokens "${STEP_TOKENS:-8192}" \
      --output "$out/rows.jsonl" >"$out/sweep.txt" 2>"$out/sweep.log" || { tail -n 5 "$out/sweep.log" >&2; echo "table: $variant $workload failed" >&2; }
  done
  python3 tools/gpu/table.py "$out/rows.jsonl" docs/results/h100-vllm.json "$out/h100-table.json"
done
