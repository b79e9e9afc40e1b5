#include "bench/fixed_batch.h"

namespace octet {

ForwardBatch fixed_batch(const FixedBatch& b) {
  ForwardBatch batch;
  const int32_t pages = (b.context + b.page_size - 1) / b.page_size;
  batch.page_table_stride = pages;
  batch.query_start.push_back(0);
  for (int32_t s = 0; s < b.sequences; ++s) {
    const auto page = [&](int32_t i) { return (s * pages + i) % b.n_pages; };
    for (int32_t i = 0; i < pages; ++i) batch.page_table.push_back(page(i));
    for (int32_t p = b.context - b.queries; p < b.context; ++p) {
      batch.token_ids.push_back((1000 + p * 7 + s * 13) % b.vocab_size);
      batch.positions.push_back(p);
      batch.slots.push_back(page(p / b.page_size) * b.page_size + p % b.page_size);
    }
    batch.query_start.push_back(batch.n_tokens());
    batch.context_lens.push_back(b.context);
    batch.logit_rows.push_back(batch.n_tokens() - 1);
  }
  return batch;
}

}  // namespace octet
