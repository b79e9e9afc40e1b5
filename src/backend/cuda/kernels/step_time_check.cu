// What each op of a decode step costs where it stands: the time of a recorded step of Llama-3.1-8B's layers,
// and of the same step without one op. Kernels overlap (device/pdl.h), so that an op costs less than its time
// alone.
//
//   octet_step_time_check [SCHEME=int8-minmax] [KV=bf16] [CONTEXT=1024] [BATCH]...
//   OCTET_NO_REPLAY set: steps are launched op by op
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "backend/cuda/cuda_ops.h"

namespace octet::cuda {
namespace {

constexpr int64_t kHidden = 4096, kWide = 14336, kQkv = 6144, kVocab = 128256;
constexpr int32_t kLayers = 32, kStored = 8;  // layers with weights of their own: 1.7 GB, no cache holds them
constexpr AttentionSpec kSpec{32, 8, 128, 0.088388f, 0};

template <class T>
T take(Result<T> result) {
  if (!result.ok()) std::printf("%s\n", result.status().message().c_str()), std::exit(1);
  return std::move(*result);
}
void must(const Status& status) {
  if (!status.ok()) std::printf("%s\n", status.message().c_str()), std::exit(1);
}

std::unique_ptr<PackedLinear> random_weight(Ops& ops, const QuantScheme& scheme, int64_t n, int64_t k,
                                            bool gated = false) {
  static std::vector<uint16_t> values;
  if (values.empty()) {
    std::mt19937 random(1);
    values.resize(static_cast<size_t>(kVocab * kHidden));
    for (uint16_t& v : values) v = static_cast<uint16_t>(0x3c00 + random() % 512 + (random() & 1) * 0x8000);
  }
  LinearWeights w;
  w.n = n, w.k = k, w.scheme = scheme, w.gated = gated;
  if (w.scheme.weight.scale == QScale::kTensor) w.scheme.weight.scale = QScale::kChannel;  // as fast
  w.values = {{values.data(), DType::kBF16, n}};
  return take(ops.pack(w));
}

struct Step {
  Ops& ops;
  QuantScheme scheme;
  Buffer memory;
  Buffer cache[kStored];
  KvLayer kv[kStored];
  std::unique_ptr<PackedLinear> qkv[kStored], o[kStored], gate_up[kStored], down[kStored], head;
  RopeSpec rope;
  View x, mid, q, wide, table, logits;
  QView normed, attended, activated, last;
  float* gamma = nullptr;
};

QView quantized(const QuantScheme& scheme, std::byte* at, int64_t rows, int64_t cols) {
  QView v{at, scheme.input, rows, cols, cols, nullptr, nullptr};
  v.scale = reinterpret_cast<float*>(at + rows * cols * 2);
  return v;
}

constexpr const char* kOps[] = {"nothing", "qkv",  "o",         "gate_up", "down",
                                "norm",    "rope", "attention", "head",    "products only"};

void run(Step& s, const BatchView& b, const std::string& without) {
  const bool products = without == kOps[std::size(kOps) - 1];
  const auto with = [&](const std::string& op) {
    if (products) return op == "qkv" || op == "o" || op == "gate_up" || op == "down";
    return without != op;
  };
  const int64_t m = b.n_tokens;
  s.ops.embed(b, s.table, s.x.head(m));
  for (int32_t l = 0; l < kLayers; ++l) {
    const int32_t i = l % kStored;
    const View x = s.x.head(m), scratch = s.wide.head(m);
    if (with("norm")) s.ops.norm(x, s.gamma, 1e-5f, s.normed.head(m));
    if (with("qkv")) s.ops.linear(s.normed.head(m), *s.qkv[i], s.mid.head(m));
    if (with("rope")) s.ops.rope_write_kv(s.mid.head(m), b, kSpec, s.rope, s.kv[i], s.q.head(m));
    if (with("attention")) s.ops.attention(s.q.head(m), b, kSpec, s.kv[i], s.attended.head(m));
    if (with("o")) s.ops.linear_add(s.attended.head(m), *s.o[i], scratch, x);
    if (with("norm")) s.ops.norm(x, s.gamma, 1e-5f, s.normed.head(m));
    if (with("gate_up")) s.ops.linear_silu_mul(s.normed.head(m), *s.gate_up[i], scratch, s.activated.head(m));
    if (with("down")) s.ops.linear_add(s.activated.head(m), *s.down[i], scratch, x);
  }
  s.ops.norm(s.x.head(m), s.gamma, 1e-5f, s.last.head(m));
  if (with("head")) s.ops.linear(s.last.head(m), *s.head, s.logits.head(m));
}

double microseconds(Step& s, const OpsLimits& limits, const ForwardBatch& batch, const std::string& without) {
  must(s.ops.reserve(limits));
  const auto step = [&](const BatchView& b) { run(s, b, without); };
  std::vector<double> times;
  for (int repeat = 0; repeat < 6; ++repeat) {
    constexpr int kSteps = 10;
    timespec begin{}, end{};
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int i = 0; i < kSteps; ++i) {
      const BatchView view = s.ops.stage(batch);
      s.ops.run(view, step);
    }
    must(s.ops.synchronize());
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (repeat > 0)
      times.push_back(((end.tv_sec - begin.tv_sec) * 1e9 + (end.tv_nsec - begin.tv_nsec)) * 1e-3 / kSteps);
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

int main(int argc, char** argv) {
  const std::string scheme_name = argc > 1 ? argv[1] : "int8-minmax", kv_name = argc > 2 ? argv[2] : "bf16";
  const int32_t context = argc > 3 ? std::atoi(argv[3]) : 1024;
  std::vector<int32_t> batches;
  for (int i = 4; i < argc; ++i) batches.push_back(std::atoi(argv[i]));
  if (batches.empty()) batches = {1, 16, 64, 256};
  CudaOptions options;
  options.replay = std::getenv("OCTET_NO_REPLAY") == nullptr;
  auto ops = take(make_ops(options));
  Step s{*ops, take(scheme_by_name(scheme_name)),
         {},   {},
         {},   {},
         {},   {},
         {},   {},
         {},   {},
         {},   {},
         {},   {},
         {},   {},
         {},   {},
         {},   {}};
  const QuantScheme plain = take(scheme_by_name("bf16"));
  const int32_t most = *std::max_element(batches.begin(), batches.end());
  const int32_t page = ops->info().page_size, pages = (context + page - 1) / page;
  const KvQuant quant = take(kv_quant_by_name(kv_name, QType::kBF16));
  for (int i = 0; i < kStored; ++i) {
    s.cache[i] = take(ops->allocate(ops->kv_page_bytes(kSpec, quant, page) * pages * most));
    s.kv[i] = {s.cache[i].data(), quant, page, nullptr, nullptr};
    s.qkv[i] = random_weight(*ops, s.scheme, kQkv, kHidden);
    s.o[i] = random_weight(*ops, s.scheme, kHidden, kHidden);
    s.gate_up[i] = random_weight(*ops, s.scheme, 2 * kWide, kHidden, true);
    s.down[i] = random_weight(*ops, s.scheme, kHidden, kWide);
  }
  s.head = random_weight(*ops, plain, kVocab, kHidden);
  constexpr int64_t kRoom = 3 * kWide * 4;
  s.memory =
      take(ops->allocate(static_cast<size_t>(most * (12 * kRoom + kVocab * 4) + context * 512 + (64 << 20))));
  auto* at = s.memory.as<std::byte>();
  const auto place = [&](int64_t bytes) {
    std::byte* p = at;
    at += (bytes + 255) / 256 * 256;
    return p;
  };
  const auto view = [&](int64_t cols) {
    return View{place(most * cols * 2), DType::kBF16, most, cols, cols};
  };
  s.x = view(kHidden), s.mid = view(kQkv), s.q = view(kHidden), s.wide = view(2 * kWide);
  s.table = View{place(1024 * kHidden * 2), DType::kBF16, 1024, kHidden, kHidden};
  s.logits = View{place(most * kVocab * 4), DType::kF32, most, kVocab, kVocab};
  s.normed = quantized(s.scheme, place(most * kHidden * 2 + most * 4), most, kHidden);
  s.attended = quantized(s.scheme, place(most * kHidden * 2 + most * 4), most, kHidden);
  s.activated = quantized(s.scheme, place(most * kWide * 2 + most * 4), most, kWide);
  s.last = quantized(plain, place(most * kHidden * 2 + most * 4), most, kHidden);
  s.gamma = reinterpret_cast<float*>(place(kHidden * 4));
  s.rope.cos_sin = reinterpret_cast<const float*>(place(context * 128 * 4));
  OpsLimits limits{most, most, context, most, static_cast<int32_t>(kVocab), kWide, kSpec};

  std::printf("%s, cache %s, context %d: us a step; what leaving an op out saves, a layer\n%8s",
              scheme_name.c_str(), kv_name.c_str(), context, "batch");
  for (const char* op : kOps) std::printf(" %9s", op);
  std::printf("\n");
  for (const int32_t batch : batches) {
    ForwardBatch b;
    b.query_start = {0};
    for (int32_t i = 0; i < batch; ++i) {
      b.token_ids.push_back(i), b.positions.push_back(context - 1);
      b.slots.push_back((i * pages + (context - 1) / page) * page + (context - 1) % page);
      b.query_start.push_back(i + 1), b.context_lens.push_back(context), b.logit_rows.push_back(i);
      for (int32_t p = 0; p < pages; ++p) b.page_table.push_back(i * pages + p);
    }
    b.page_table_stride = pages;
    double whole = 0;
    std::printf("%8d", batch);
    for (const std::string op : kOps) {
      const double us = microseconds(s, limits, b, op);
      if (op == "nothing") whole = us;
      std::printf(" %9.1f", op == "nothing" || op == "products only" ? us
                            : op == "head"                           ? whole - us
                                                                     : (whole - us) / kLayers);
      std::fflush(stdout);
    }
    std::printf("\n");
  }
  return 0;
}

}  // namespace
}  // namespace octet::cuda

int main(int argc, char** argv) {
  return octet::cuda::main(argc, argv);
}
