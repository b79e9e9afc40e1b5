#!/usr/bin/env bash
# Llama-3.1-8B's shape on one Hopper GPU: output tokens a second by workload, scheme, KV cache and max batch, beside vLLM's and the limit,
# and the time to the first token at about 4 requests a second, at the times at which vLLM got them.
#
#   tools/gpu/table.sh OUT [SCHEME:KV]...    default: bf16:auto fp8:auto int8-minmax:auto fp8-static:fp8 int8-minmax:int8
#
# OUT is a folder; OUT/rows.jsonl and OUT/rate-*.json keep what was measured (an
# interrupted run goes on), OUT/h100-table.json is the table.
# OCTET_BIN: the program (build/octet), with liboctet_cuda.so beside it. BATCHES: max batch sizes (1,16,64,256). RATES=0 leaves the latter out.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$1
shift
variants=("${@:-}")
[ -n "${variants[0]}" ] || variants=(bf16:auto fp8:auto int8-minmax:auto fp8-static:fp8 int8-minmax:int8)
octet=${OCTET_BIN:-build/octet}
batches=${BATCHES:-1,16,64,256}
mkdir -p "$out"
command -v nvidia-smi >/dev/null && nvidia-smi --query-gpu=name,driver_version --format=csv,noheader

for variant in "${variants[@]}"; do
  "$octet" bench sweep --backend cuda --random-weights llama-3.1-8b --schemes "${variant%%:*}" --kv-dtypes "${variant#*:}" \
    --workloads 2048/128x2,128/2048x1 --max-batches "$batches" --output "$out/rows.jsonl" >"$out/sweep.txt" 2>"$out/sweep.log" ||
    { tail -n 5 "$out/sweep.log" >&2; echo "table: $variant failed" >&2; }
  rated=$out/rate-${variant%%:*}-${variant#*:}.json
  if [ "${RATES:-1}" = 1 ] && ! [ -s "$rated" ]; then
    "$octet" bench throughput --backend cuda --random-weights llama-3.1-8b --scheme "${variant%%:*}" --kv-dtype "${variant#*:}" --input-len 2048 \
      --output-len 128 --arrivals docs/results/arrivals-4-a-second.txt --max-batch 64 --max-context 2176 --output "$rated" >"$out/rate.txt" 2>"$out/rate.log" ||
      { tail -n 5 "$out/rate.log" >&2; echo "table: $variant at 4 requests a second failed" >&2; }
  fi
  python3 tools/gpu/table.py "$out/rows.jsonl" docs/results/h100-vllm.json "$out/h100-table.json"
done
