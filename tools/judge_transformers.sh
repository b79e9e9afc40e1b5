#!/bin/sh
# `make judge`: loads torch, transformers, compressed-tensors and bitsandbytes (5 GB, into .deps/golden-venv; remove it when done) and lets them
# load what `octet quantize` writes. `make judge JUDGE=--write` stores their logits in tests/golden/written.
set -eu
cd "$(dirname "$0")/.."
tools/setup.sh --goldens
tools/build.sh release octet
export HF_HUB_OFFLINE=1 TQDM_DISABLE=1
.deps/golden-venv/bin/python tools/judge_transformers.py build/octet "$@"
