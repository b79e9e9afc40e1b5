// Times attention and rope_write_kv on a GPU, in CUDA graphs, with caches that L2 does not hold:
// microseconds, bytes and operations, the share of the measured copy rate or the operations a second.
// Llama-3.1-8B's heads (32 / 8 of 128) where nothing else is said.
//
//   octet_attention_time_check [FILE.json]     a table, and the same as JSON
#include <cstring>
#include <memory>

#include "backend/cuda/kernels/attention_check_util.cuh"

namespace octet::cuda::check {
namespace {

constexpr double kCopyRate = 3.02e12;  // bytes a second, read and written, of a large copy on an H100 SXM

struct Cache {
  const char* name;
  QType type;
  float scale = 0;  // static, of K and V
};
const Cache kBf16{"bf16", QType::kBF16}, kInt8{"int8", QType::kInt8}, kFp8{"fp8", QType::kFp8},
    kFp8Static{"fp8 static", QType::kFp8, 0.02f};

const QuantArgs kOutBf16{.type = QType::kBF16};
const QuantArgs kOutInt8{.type = QType::kInt8, .scale = QScale::kToken, .dynamic = true};

std::string json;
void record(const std::string& op, const std::string& what, double us, double bytes, double flop) {
  const double share = bytes / (us * 1e-6) / kCopyRate, tflops = flop / us * 1e-6;
  std::printf("%-10s %-52s %9.2f us", op.c_str(), what.c_str(), us);
  if (flop > 0)
    std::printf("  %7.1f TFLOP/s\n", tflops);
  else
    std::printf("  %6.3f TB/s  %5.1f %% of 3.02\n", bytes / us * 1e-6, 100 * share);
  char line[400];
  std::snprintf(line, sizeof line,
                "%s{\"op\": \"%s\", \"what\": \"%s\", \"us\": %.2f, \"bytes\": %.0f, \"flop\": %.0f, "
                "\"share_of_copy_rate\": %.4f, \"tflop_per_s\": %.1f}",
                json.empty() ? "" : ",\n", op.c_str(), what.c_str(), us, bytes, flop, flop > 0 ? 0 : share,
                tflops);
  json += line;
}

// Random codes; scales of 0.02.
__global__ void fill_pages(uint8_t* pages, int64_t n_heads, KvLayout layout, QType type) {
  for (int64_t h = blockIdx.x; h < n_heads; h += gridDim.x) {
    uint8_t* head = pages + h * layout.head_bytes;
    const int32_t codes = 2 * layout.v_offset;
    for (int32_t i = threadIdx.x * 2; i < codes; i += blockDim.x * 2) {
      uint16_t x;
      const float v = noise(h * codes + i);
      if (layout.code_bytes == 2) {
        x = __bfloat16_as_ushort(__float2bfloat16_rn(v));
      } else {
        const float w = noise(h * codes + i + 1);
        if (type == QType::kInt8)
          x = (static_cast<int>(v * 40) & 0xff) | (static_cast<int>(w * 40) & 0xff) << 8;
        else
          x = __nv_cvt_float_to_fp8(v * 50, __NV_SATFINITE, __NV_E4M3) |
              __nv_cvt_float_to_fp8(w * 50, __NV_SATFINITE, __NV_E4M3) << 8;
      }
      *reinterpret_cast<uint16_t*>(head + i) = x;
    }
    for (int32_t i = codes + threadIdx.x * 4; i < layout.head_bytes; i += blockDim.x * 4)
      *reinterpret_cast<float*>(head + i) = 0.02f;
  }
}

// Median of a graph's time over its launches, in microseconds.
template <class Launch>
double time_us(int launches, const Launch& launch) {
  cudaStream_t stream;
  cudaGraph_t graph;
  cudaGraphExec_t executable;
  succeed(cudaStreamCreate(&stream), "stream");
  launch(0, stream);
  succeed(cudaStreamSynchronize(stream), "launch");
  succeed(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  for (int i = 0; i < launches; ++i) launch(i, stream);
  succeed(cudaStreamEndCapture(stream, &graph), "capture");
  succeed(cudaGraphInstantiate(&executable, graph, 0), "graph");
  cudaEvent_t begin, end;
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  std::vector<float> times;
  for (int r = 0; r < 6; ++r) {
    cudaEventRecord(begin, stream);
    cudaGraphLaunch(executable, stream);
    cudaEventRecord(end, stream);
    succeed(cudaEventSynchronize(end), "graph");
    float ms;
    cudaEventElapsedTime(&ms, begin, end);
    if (r > 0) times.push_back(ms * 1e3f / launches);
  }
  std::sort(times.begin(), times.end());
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  return times[times.size() / 2];
}

struct Load {
  int32_t past, n_new;
};

// Attention over the given sequences; the cache stands `copies` times in memory.
double time_attention(const AttentionSpec& spec, const Cache& cache, const std::vector<Load>& loads,
                      const QuantArgs& form, bool invariant, double* cache_bytes) {
  const KvLayout layout(spec, {cache.type}, kBestPageSize);
  int32_t longest = 1;
  double tokens = 0;
  for (const Load& l : loads) {
    longest = std::max(longest, l.past + l.n_new);
    tokens += l.past + l.n_new;
  }
  const bool reads_scales = layout.code_bytes == 1 && cache.scale == 0;
  *cache_bytes =
      tokens * spec.n_kv_heads * 2 * (layout.padded_dim * layout.code_bytes + (reads_scales ? 4 : 0));
  const int copies = static_cast<int>(std::clamp(160e6 / *cache_bytes, 1.0, 24.0));
  const Pages pages(static_cast<int32_t>(loads.size()) * copies, longest, kBestPageSize);
  Array<uint8_t> pool(pages.table.size() * layout.page_bytes);
  launch_dependent(fill_pages, 2048, 256, 0, nullptr, pool.data(),
                   static_cast<int64_t>(pages.table.size()) * spec.n_kv_heads, layout, cache.type);
  finish("fill_pages");
  std::vector<ForwardBatch> batches(copies);
  std::vector<std::unique_ptr<DeviceBatch>> views;
  for (int c = 0; c < copies; ++c) {
    for (size_t s = 0; s < loads.size(); ++s)
      pages.add(batches[c], static_cast<int32_t>(c * loads.size() + s), loads[s].past, loads[s].n_new);
    views.push_back(std::make_unique<DeviceBatch>(batches[c]));
  }
  const Prefill prefill(batches[0], spec, invariant);
  const int32_t n = batches[0].n_tokens(), cols = spec.n_heads * spec.head_dim;
  Array<__nv_bfloat16> q(static_cast<size_t>(n) * cols);
  launch_dependent(fill_noise, 1024, 256, 0, nullptr, q.data(), q.size(), 5, 1.0f);
  Array<uint8_t> out(static_cast<size_t>(n) * cols * 4);
  Array<float> scales(n);
  const OpsLimits limits{.max_tokens = n, .max_seqs = static_cast<int32_t>(loads.size()), .attention = spec};
  Array<uint8_t> workspace(attention_workspace_bytes(limits));
  const Array<float> static_scale(std::vector<float>(spec.n_kv_heads, cache.scale));
  const float* scale = cache.scale != 0 ? static_scale.data() : nullptr;
  const KvLayer kv{pool.data(), {cache.type, scale == nullptr}, kBestPageSize, scale, scale};
  const View in{q.data(), DType::kBF16, n, cols, cols};
  const QView to{out.data(), form, n, cols, cols, scales.data(), nullptr};
  return time_us(std::max(copies, tokens > 1e6 ? 6 : 24), [&](int i, cudaStream_t stream) {
    attention(in, views[i % copies]->view, spec, kv, prefill.plan(), to, workspace.data(), stream);
  });
}

void time_decode(const AttentionSpec& spec, const Cache& cache, const std::vector<Load>& loads,
                 const QuantArgs& form, const std::string& what, bool invariant = false) {
  double bytes;
  const double us = time_attention(spec, cache, loads, form, invariant, &bytes);
  record(invariant ? "invariant" : "decode", std::string(cache.name) + ", " + what, us, bytes, 0);
}

void time_prefill(const Cache& cache, int32_t n_seqs, int32_t n_new, int32_t past, const QuantArgs& form,
                  const std::string& suffix = "") {
  const AttentionSpec spec = heads(32, 8, 128);
  double bytes;
  const double us =
      time_attention(spec, cache, std::vector<Load>(n_seqs, {past, n_new}), form, false, &bytes);
  const double pairs = n_seqs * (double{1} * n_new * past + 0.5 * n_new * (n_new + 1.0));
  record("prefill",
         std::string(cache.name) + ", " + std::to_string(n_seqs) + " x " + std::to_string(n_new) + " over " +
             std::to_string(past) + suffix,
         us, bytes, 4 * pairs * spec.n_heads * spec.head_dim);
}

void time_rope(const Cache& cache, int32_t n_seqs, int32_t n_new) {
  const AttentionSpec spec = heads(32, 8, 128);
  const KvLayout layout(spec, {cache.type}, kBestPageSize);
  const int32_t n = n_seqs * n_new, width = 48 * 128, q_width = 32 * 128;
  const int copies = n > 1000 ? 4 : 16;
  const Pages pages(n_seqs, 500 + n_new, kBestPageSize);
  ForwardBatch b;
  for (int32_t s = 0; s < n_seqs; ++s) pages.add(b, s, 500, n_new);
  const DeviceBatch batch(b);
  Array<uint8_t> pool(copies * pages.table.size() * layout.page_bytes);
  Array<__nv_bfloat16> qkv(static_cast<size_t>(copies) * n * width),
      q(static_cast<size_t>(copies) * n * q_width);
  launch_dependent(fill_noise, 1024, 256, 0, nullptr, qkv.data(), qkv.size(), 5, 1.0f);
  Array<float> angles(static_cast<size_t>(500 + n_new) * 128);
  RopeSpec rope;
  rope.cos_sin = angles.data();
  const double us = time_us(32, [&](int i, cudaStream_t stream) {
    const int c = i % copies;
    const KvLayer kv{pool.data() + c * pages.table.size() * layout.page_bytes,
                     {cache.type},
                     kBestPageSize,
                     nullptr,
                     nullptr};
    const View in{qkv.data() + static_cast<size_t>(c) * n * width, DType::kBF16, n, width, width};
    const View out{q.data() + static_cast<size_t>(c) * n * q_width, DType::kBF16, n, q_width, q_width};
    rope_write_kv(in, batch.view, spec, rope, kv, out, stream);
  });
  const double bytes =
      double{1} * n *
      (width * 2 + q_width * 2 + 16 * (128 * layout.code_bytes + (layout.code_bytes == 1 ? 4 : 0)));
  record("rope", std::string(cache.name) + ", " + std::to_string(n_seqs) + " x " + std::to_string(n_new), us,
         bytes, 0);
}

}  // namespace

int run(const char* file) {
  const AttentionSpec llama = heads(32, 8, 128), small = heads(9, 3, 64);
  for (const Cache& cache : {kBf16, kFp8Static, kFp8, kInt8}) {
    for (const int32_t batch : {1, 16, 64, 256}) {
      for (const int32_t context : {128, 256, 1024, 2048, 8192}) {
        time_decode(llama, cache, std::vector<Load>(batch, {context - 1, 1}), kOutBf16,
                    std::to_string(batch) + " x " + std::to_string(context));
      }
    }
    std::vector<Load> ragged;
    for (int32_t s = 0; s < 256; ++s) ragged.push_back({128 + (s * 997) % 2048, 1});
    time_decode(llama, cache, ragged, kOutBf16, "256 x 129 to 2176");
    time_decode(llama, cache, ragged, kOutInt8, "256 x 129 to 2176, int8 out");
    for (const int32_t batch : {1, 16}) {
      time_decode(llama, cache, std::vector<Load>(batch, {2047, 1}), kOutInt8,
                  std::to_string(batch) + " x 2048, int8 out");
    }
  }
  time_decode(small, kBf16, std::vector<Load>(64, {1023, 1}), kOutBf16, "64 x 1024, 9 / 3 heads of 64");
  for (const int32_t batch : {1, 16, 64, 256})
    time_decode(llama, kBf16, std::vector<Load>(batch, {2047, 1}), kOutBf16,
                std::to_string(batch) + " x 2048", true);
  const struct {
    int32_t n_seqs, n_new, past;
  } prefills[] = {{1, 512, 0},  {1, 2048, 0},   {4, 2048, 0},   {16, 512, 0},    {64, 128, 0},
                  {1, 8192, 0}, {1, 512, 7680}, {4, 512, 7680}, {1, 512, 32256}, {16, 512, 1536}};
  for (const Cache& cache : {kBf16, kFp8Static, kInt8}) {
    for (const auto& p : prefills) time_prefill(cache, p.n_seqs, p.n_new, p.past, kOutBf16);
    time_prefill(cache, 4, 2048, 0, kOutInt8, ", int8 out");
  }
  for (const Cache& cache : {kBf16, kFp8, kInt8}) {
    for (const int32_t n : {1, 64, 256}) time_rope(cache, n, 1);
    time_rope(cache, 4, 2048);
  }
  if (file != nullptr) {
    std::FILE* f = std::fopen(file, "w");
    if (f == nullptr) {
      std::printf("%s: cannot be written\n", file);
      return 1;
    }
    cudaDeviceProp device;
    cudaGetDeviceProperties(&device, 0);
    std::fprintf(f, "{\"device\": \"%s\", \"copy_rate\": %.3g, \"attention\": [\n%s\n]}\n", device.name,
                 kCopyRate, json.c_str());
    std::fclose(f);
  }
  return 0;
}

}  // namespace octet::cuda::check

int main(int argc, char** argv) {
  if (!octet::cuda::check::has_device()) return 0;
  return octet::cuda::check::run(argc > 1 ? argv[1] : nullptr);
}
