#!/usr/bin/env bash
# Times the kernels of Llama-3.1-8B's shape one by one on a Hopper GPU: products by type and number of tokens, attention, RoPE, and the
# kernels that work on rows.
#
#   tools/gpu/kernels.sh OUT       OUT/{gemm,attention,rows}.json as measured; OUT/h100-kernels.json, OUT/h100-rows.json
#
# BIN: the folder of programs (build, or what tools/gpu/bundle.sh made). TOKENS: the most of a product (2048; 8192 takes 20 s more).
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$1
bin=$(realpath "${BIN:-build}")
mkdir -p "$out"
export LD_LIBRARY_PATH=$bin${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

"$bin/octet_gemm_check" time "$out/gemm.json" "${TOKENS:-2048}" fp8 int8 bf16 | tee "$out/gemm.txt"
"$bin/octet_attention_time_check" "$out/attention.json" | tee "$out/attention.txt"
"$bin/octet_rows_time_check" "$out/rows.json" | tee "$out/rows.txt"
[ -s "$out/rows.json" ] || { echo "kernels: no GPU that can be used: $bin/octet devices says why" >&2; exit 1; }
python3 tools/gpu/kernels.py "$out"
