// After `reserve`, no op allocates, and `reserve` takes what scratch_bytes said. Counted by replacing
// operator new for this whole test binary; counting is off elsewhere.
#include <atomic>
#include <cstdlib>
#include <new>

#include "backend/ops_test_util.h"

namespace {

std::atomic<bool> counting{false};
std::atomic<int64_t> n_allocations{0}, bytes_allocated{0};

void* counted_allocate(size_t size, size_t align) {
  if (counting.load(std::memory_order_relaxed)) {
    n_allocations.fetch_add(1);
    bytes_allocated.fetch_add(static_cast<int64_t>(size));
  }
  return std::aligned_alloc(align, (size + align - 1) / align * align + (size == 0 ? align : 0));
}

// Not inlined, so that the compiler does not see memory of operator new go to free and warn.
[[gnu::noinline]] void release(void* p) {
  std::free(p);
}

void* or_throw(void* p) {
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

}  // namespace

void* operator new(size_t size) {
  return or_throw(counted_allocate(size, alignof(std::max_align_t)));
}
void* operator new(size_t size, std::align_val_t align) {
  return or_throw(counted_allocate(size, static_cast<size_t>(align)));
}
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return counted_allocate(size, alignof(std::max_align_t));
}
void* operator new(size_t size, std::align_val_t align, const std::nothrow_t&) noexcept {
  return counted_allocate(size, static_cast<size_t>(align));
}
void operator delete(void* p) noexcept {
  release(p);
}
void operator delete(void* p, size_t) noexcept {
  release(p);
}
void operator delete(void* p, std::align_val_t) noexcept {
  release(p);
}
void operator delete(void* p, size_t, std::align_val_t) noexcept {
  release(p);
}

namespace octet {
namespace {

class AllocationOps : public OpsTest {
 protected:
  void SetUp() override { aligned_rows = !GetParam().on_host; }  // as a model's are
};

// A step as large as the limits: a prefill and decodes whose long contexts are split among the threads.
TEST_P(AllocationOps, AStepAllocatesNothing) {
  const AttentionSpec spec{6, 2, 32, 0.2f, 0};
  const OpsLimits limits{.max_tokens = 200,
                         .max_seqs = 4,
                         .max_context = 2048,
                         .max_logits = 4,
                         .vocab_size = 3000,
                         .max_cols = 512,
                         .attention = spec};
  const auto ops = GetParam().make(3);
  bytes_allocated = 0;
  counting = true;
  ASSERT_TRUE(ops->reserve(limits).ok());
  counting = false;
  const auto promised = static_cast<double>(ops->scratch_bytes(limits));
  if (GetParam().on_host) {
    EXPECT_LE(static_cast<double>(bytes_allocated), promised + 4096);
    EXPECT_GE(static_cast<double>(bytes_allocated), 0.9 * promised);
  }

  const int32_t n_tokens = 200, hidden = 192, width = 10 * 32, vocab = 3000;
  for (const std::vector<int32_t>& lengths : std::vector<std::vector<int32_t>>{{197, 1, 1, 1}, {1, 1}, {1}}) {
    ForwardBatch batch;
    batch.page_table_stride = 128;
    batch.query_start = {0};
    for (size_t s = 0; s < lengths.size(); ++s) {
      const int32_t context = lengths[s] == 1 ? 2000 : lengths[s];
      for (int32_t i = 0; i < 128; ++i) batch.page_table.push_back(static_cast<int32_t>(s) * 128 + i);
      for (int32_t i = context - lengths[s]; i < context; ++i) {
        batch.token_ids.push_back(i % 7);
        batch.positions.push_back(i);
        batch.slots.push_back(static_cast<int32_t>(s) * 2048 + i);
      }
      batch.query_start.push_back(batch.n_tokens());
      batch.context_lens.push_back(context);
      batch.logit_rows.push_back(batch.n_tokens() - 1);
    }
    const int32_t n = batch.n_tokens(), n_logits = batch.n_logits();
    for (const QType cache : {QType::kBF16, QType::kF16, QType::kInt8}) {
      for (const ActivationForm& form : activation_forms()) {
        const DeviceMatrix x(*ops, n_tokens, hidden), qkv(*ops, n_tokens, width),
            gate_up(*ops, n_tokens, 2 * hidden), logits(*ops, 4, vocab, DType::kF32);
        const DeviceQuantized a(*ops, form.args, n_tokens, hidden);
        const DeviceArray<float> table(*ops, 10 * hidden), gamma(*ops, hidden), cos_sin(*ops, 2048 * 32);
        const DeviceArray<uint8_t> pool(*ops, 4 * 128 * ops->kv_page_bytes(spec, {cache}, 16));
        const KvLayer kv{pool.data(), {cache}, 16, nullptr, nullptr};
        SamplingBatch sampling;
        for (int32_t i = 0; i < n_logits; ++i) {
          sampling.rows.push_back({.temperature = 0.5f * static_cast<float>(i),
                                   .top_k = i == 3 ? 2000 : 50 * i,
                                   .top_p = 0.9f,
                                   .n_logprobs = 20});
        }
        std::vector<SampledToken> tokens(n_logits);
        const View x_view = x.view().head(n);
        n_allocations = 0;
        counting = true;
        const BatchView view = ops->stage(batch);
        ops->embed(view, {table.data(), DType::kF32, 10, hidden, hidden}, x_view);
        ops->norm(x_view, gamma.data(), 1e-5f, a.view().head(n));
        ops->rope_write_kv(qkv.view().head(n), view, spec, {.cos_sin = cos_sin.data()}, kv, x_view);
        ops->attention(x_view, view, spec, kv, a.view().head(n));
        ops->quantize(x_view, a.view().head(n));
        ops->silu_mul(gate_up.view().head(n), a.view().head(n));
        ops->gather_rows(x_view, view.logit_rows, n_logits, x.view());
        ops->sample(logits.view().head(n_logits), sampling, tokens.data());
        const Status status = ops->synchronize();
        counting = false;
        EXPECT_TRUE(status.ok());
        EXPECT_EQ(n_allocations, 0) << form.name;
      }
    }
  }
}

OCTET_INSTANTIATE_OPS_TEST(AllocationOps);

}  // namespace
}  // namespace octet
