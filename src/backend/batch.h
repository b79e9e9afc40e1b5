// One step's work, as the engine builds it (ForwardBatch, host vectors) and as the ops read it (BatchView,
// pointers in the backend's memory). Tokens of one sequence are consecutive; prefill chunks and decodes mix
// freely.
#pragma once

#include <cstdint>
#include <vector>

namespace octet {

// A token id that the host does not know yet: the one sampled for this row of the step before, which
// may still be running. Backends that never run ahead of the host (BackendInfo.runs_ahead) see none.
inline constexpr int32_t from_row(int32_t row) {
  return -1 - row;
}

struct ForwardBatch {
  std::vector<int32_t> token_ids;    // [n_tokens] an id, or from_row(r)
  std::vector<int32_t> positions;    // [n_tokens] position in its own sequence, from 0
  std::vector<int32_t> slots;        // [n_tokens] page * page_size + offset: where this token's K and V go
  std::vector<int32_t> query_start;  // [n_seqs + 1] first token of each sequence in the arrays above
  std::vector<int32_t>
      context_lens;  // [n_seqs] tokens of the sequence in the cache once this step's are written
  std::vector<int32_t> page_table;  // [n_seqs, page_table_stride] pages of each sequence, in order
  int32_t page_table_stride = 0;
  std::vector<int32_t> logit_rows;  // [n_logits] indices into the tokens: the ones whose next token is wanted

  int32_t n_tokens() const { return static_cast<int32_t>(token_ids.size()); }
  int32_t n_seqs() const { return static_cast<int32_t>(context_lens.size()); }
  int32_t n_logits() const { return static_cast<int32_t>(logit_rows.size()); }
  void clear();  // keeps the capacity: a step allocates nothing
};

struct BatchView {
  int32_t n_tokens = 0, n_seqs = 0, n_logits = 0, page_table_stride = 0;
  const int32_t* token_ids = nullptr;
  const int32_t* positions = nullptr;
  const int32_t* slots = nullptr;
  const int32_t* query_start = nullptr;
  const int32_t* context_lens = nullptr;
  const int32_t* page_table = nullptr;
  const int32_t* logit_rows = nullptr;
};

}  // namespace octet
