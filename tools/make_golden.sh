#!/bin/sh
# `make goldens`: loads torch and transformers (5 GB, into .deps/golden-venv; remove it when done), writes tests/golden anew.
set -eu
cd "$(dirname "$0")/.."
tools/setup.sh --goldens
export HF_HUB_OFFLINE=1
.deps/golden-venv/bin/python tools/make_golden.py tests/golden/models
.deps/golden-venv/bin/python tools/make_golden_text.py
