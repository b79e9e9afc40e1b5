#!/bin/sh
# `make compare-llama-cpp`: builds llama.cpp for this very machine (minutes, once), then measures both engines in one run.
set -eu
cd "$(dirname "$0")/.."
CMAKE_ARGS="-DGGML_NATIVE=ON -DLLAVA_BUILD=OFF" tools/setup.sh --llama-cpp
exec .deps/llama-venv/bin/python tools/compare_llama_cpp.py models/smollm2-135m-instruct.gguf "$@"
