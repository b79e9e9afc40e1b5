// A step's arrays on their way to the device: packed into pinned memory, copied once, at addresses that
// follow from the view's sizes alone, so that a recorded step finds the next batch of the same sizes in the
// same place.
#pragma once

#include <cuda_runtime_api.h>

#include "backend/cuda/device_memory.h"
#include "backend/ops.h"

namespace octet::cuda {

// Sizes of the view that a batch is staged as. Steps of decodes alone (each sequence has one token, and its
// next one is wanted) are rounded up, so that few sizes are ever recorded.
struct StagedSizes {
  int32_t n_tokens = 0, n_seqs = 0, n_logits = 0, page_table_stride = 0;
  bool decodes = false;
};

// The number of sequences that n are rounded up to: 1, 2, 4, 8, 16, 24, ... 128, 144, ... 256, 288, ...
int32_t decode_bucket(int32_t n);
StagedSizes staged_sizes(const ForwardBatch& batch, const OpsLimits& limits);

// Bytes of all arrays of a view, each aligned to 16.
size_t staged_bytes(const StagedSizes& sizes);
size_t max_staged_bytes(const OpsLimits& limits);

// Writes the arrays of `batch`, rows that pad it to `sizes` included, to `host`; returns the view of the same
// bytes at `device`. Rows too many have token 0, position 0, slot -1 and a context of 0.
BatchView pack_batch(const ForwardBatch& batch, const StagedSizes& sizes, std::byte* host, std::byte* device);

}  // namespace octet::cuda
