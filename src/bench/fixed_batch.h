// A step's batch made by hand: no scheduler between the clock and the model.
#pragma once

#include "backend/batch.h"

namespace octet {

struct FixedBatch {
  int32_t sequences = 1, queries = 1, context = 1;  // each sequence adds `queries` tokens up to `context`
  int32_t page_size = 16, n_pages = 1, vocab_size = 1;
};

// Sequences have pages of their own as far as there are so many. The logits of each one's last token are
// wanted.
ForwardBatch fixed_batch(const FixedBatch& sizes);

}  // namespace octet
