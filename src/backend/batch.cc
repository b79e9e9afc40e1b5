#include "backend/batch.h"

namespace octet {

void ForwardBatch::clear() {
  for (auto* v : {&token_ids, &positions, &slots, &query_start, &context_lens, &page_table, &logit_rows})
    v->clear();
}

}  // namespace octet
