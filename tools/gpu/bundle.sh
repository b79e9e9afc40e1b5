#!/usr/bin/env bash
# Gathers what tools/gpu/*.sh run on a GPU machine that builds nothing: stripped programs, the CUDA backend, and the shared
# libraries they need that another system may lack.
#
#   tools/gpu/bundle.sh FOLDER [BUILD_FOLDER]     then, there: BIN=FOLDER tools/gpu/test.sh OUT
set -euo pipefail
folder=$1
build=${2:-$(dirname "$0")/../../build}
mkdir -p "$folder"
for name in octet octet_backend_test octet_model_test octet_engine_test liboctet_cuda.so liboctet_failing_device.so; do
  strip -o "$folder/$name" "$build/$name"
done
for check in "$build"/octet_*_check; do
  if [ -x "$check" ]; then strip -o "$folder/${check##*/}" "$check"; fi
done
for program in octet octet_backend_test octet_model_test octet_engine_test; do ldd "$build/$program"; done |
  sed -n 's/.*=> \(\S*lib\(fmt\|simdjson\|pcre2-8\|utf8proc\)\.so\S*\) .*/\1/p' | sort -u | xargs -I{} cp -L {} "$folder/"
du -sh "$folder"
