#!/bin/sh
# `make goldens`: loads torch and transformers (5 GB, into .deps/golden-venv; remove it when done), writes tests/golden anew.
set -eu
cd "$(dirname "$0")/.."
tools/setup.sh --goldens
export HF_HUB_OFFLINE=1
.deps/golden-venv/bin/python tools/make_golden.py tests/golden/models
.deps/golden-venv/bin/python tools/make_golden_text.py
tools/build.sh release octet
tools/fetch_model.sh models/smollm2-135m-instruct.gguf
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
build/octet quantize models/smollm2-135m-instruct.gguf --scheme f32 -o "$folder/smollm2"
.deps/golden-venv/bin/python tools/make_golden_smollm2.py "$folder/smollm2" tests/golden/smollm2.json
