#!/usr/bin/env bash
# Steps of Llama-3.1-8B's shape on one Hopper GPU, taken apart op by op, with a trace of one step of each kind for Perfetto or
# chrome://tracing.
#
#   tools/gpu/trace.sh OUT [SCHEME:KV]...     default: fp8:auto     OUT/trace-*.json, OUT/profile-*.json, OUT/profile-*.txt
#
# OCTET_BIN: the program (build/octet), with liboctet_cuda.so beside it. BATCHES (1,64,256), CONTEXTS (1024), PROMPTS (2048).
set -euo pipefail
cd "$(dirname "$0")/../.."
out=$1
shift
variants=("${@:-fp8:auto}")
mkdir -p "$out"
for variant in "${variants[@]}"; do
  name=${variant/:/-}
  "${OCTET_BIN:-build/octet}" profile --backend cuda --random-weights llama-3.1-8b --schemes "${variant%%:*}" --kv-dtypes "${variant#*:}" \
    --batches "${BATCHES:-1,64,256}" --contexts "${CONTEXTS:-1024}" --prefill "${PROMPTS:-2048}" --output "$out/profile-$name.json" \
    --trace "$out/trace-$name.json" | tee "$out/profile-$name.txt"
done
