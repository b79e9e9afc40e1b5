# Octet's commands: `make help` lists them. What is longer than a line or two is in tools/.
HOST ?= 127.0.0.1
PORT ?= 8000
JOBS ?= $(shell nproc)
FUZZ_SECONDS ?= 60
export JOBS

MODEL := models/smollm2-135m-instruct.gguf
QUANTIZED := models/smollm2-135m-instruct-int8
SOURCES = $(shell git ls-files '*.cc' '*.h' '*.cu' '*.cuh')

.DEFAULT_GOAL := help
.PHONY: help setup build cuda model run test asan tsan fuzz format lint goldens judge compare-llama-cpp clean distclean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 20

setup:
	@tools/setup.sh

build: setup ## build/octet, the program
	@tools/build.sh release octet

cuda: setup ## the program and build/liboctet_cuda.so, its backend for NVIDIA's Hopper GPUs (needs nvcc)
	@tools/build.sh release build.ninja && cmake -S . -B build -DOCTET_CUDA=ON --log-level=WARNING >/dev/null
	@tools/build.sh release octet octet_cuda

model: $(MODEL) ## SmolLM2-135M-Instruct, 16 bit to be quantized, into models/

$(MODEL): | setup
	@tools/fetch_model.sh $@

$(QUANTIZED)/config.json: $(MODEL) | build
	@rm -rf $(QUANTIZED)
	build/octet quantize $(MODEL) --scheme int8-minmax --quantize-head -o $(QUANTIZED)
	@touch $@

run: build $(QUANTIZED)/config.json ## serve SmolLM2 with 8-bit weights and activations: page and API on HOST:PORT (127.0.0.1:8000)
	@exec build/octet serve $(QUANTIZED) --host $(HOST) --port $(PORT)

test: ## every test: Release, then under AddressSanitizer and UBSan with fuzzing, then under ThreadSanitizer
	@tools/test.sh

asan: ## unit tests and fuzz targets under AddressSanitizer and UBSan
	@tools/test.sh asan

tsan: ## engine and server tests under ThreadSanitizer
	@tools/test.sh tsan

fuzz: ## fuzz with libFuzzer (clang), FUZZ_SECONDS (60) for each target
	@tools/setup.sh --fuzz
	@cmake --preset fuzz -DOCTET_FUZZ_SECONDS=$(FUZZ_SECONDS) --log-level=WARNING >/dev/null
	@tools/build.sh fuzz fuzz_targets
	ctest --test-dir build-fuzz -L fuzz --output-on-failure --no-tests=error -j $(JOBS)

format: ## clang-format on every source
	@tools/setup.sh --format
	@clang-format -i $(SOURCES)

lint: ## formatting, the include table, file sizes
	@tools/setup.sh --format
	@clang-format --dry-run --Werror $(SOURCES)
	@tools/check_arch.py

goldens: setup ## write tests/golden anew with transformers, tokenizers, Jinja2 (6 GB of disk, minutes)
	@tools/make_golden.sh

judge: setup ## transformers, compressed-tensors and bitsandbytes load what quantize writes (6 GB of disk, minutes)
	@tools/judge_transformers.sh $(JUDGE)

compare-llama-cpp: build $(MODEL) ## speed beside llama.cpp's on this machine, into docs/results/ (builds llama.cpp first: minutes)
	@tools/compare_llama_cpp.sh

clean: ## remove what was built
	rm -rf build build-asan build-tsan build-fuzz

distclean: clean ## also the models and the packages in .deps/
	rm -rf models .deps
