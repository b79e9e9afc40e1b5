// Times the row kernels and sampling at Llama-3.1-8B's sizes, in graphs of dependent launches over memory
// that is cold in the cache.
//
//   octet_rows_time_check [FILE.json]     a table, and the same as JSON
#include <algorithm>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "backend/cuda/device_memory.h"
#include "backend/cuda/kernels/rows.h"
#include "backend/cuda/kernels/sample.h"

namespace octet::cuda {
namespace {

constexpr double kCopyRate = 3.02e12;  // bytes a second, read and written: a device-to-device copy on an H100
constexpr int kCopies = 6;             // of the data, used in turn

void succeed(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

struct Memory {
  uint8_t* data = nullptr;
  explicit Memory(size_t bytes) {
    succeed(cudaMalloc(&data, bytes), "cudaMalloc");
    succeed(cudaMemset(data, 0, bytes), "cudaMemset");
  }
  ~Memory() { cudaFree(data); }
  Memory(const Memory&) = delete;
};

// Median time of one of `n` launches in a graph, in microseconds.
double time_us(int n, const std::function<void(int, cudaStream_t)>& launch) {
  cudaStream_t stream;
  cudaStreamCreate(&stream);
  for (int i = 0; i < n; ++i) launch(i, stream);  // loads the kernels
  succeed(cudaStreamSynchronize(stream), "a kernel");
  cudaGraph_t graph;
  cudaGraphExec_t exec;
  succeed(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
  for (int i = 0; i < n; ++i) launch(i, stream);
  succeed(cudaStreamEndCapture(stream, &graph), "capture");
  succeed(cudaGraphInstantiate(&exec, graph, 0), "graph");
  cudaEvent_t begin, end;
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  std::vector<float> times;
  for (int repeat = 0; repeat < 16; ++repeat) {
    cudaEventRecord(begin, stream);
    cudaGraphLaunch(exec, stream);
    cudaEventRecord(end, stream);
    succeed(cudaStreamSynchronize(stream), "a kernel");
    float ms = 0;
    cudaEventElapsedTime(&ms, begin, end);
    if (repeat > 0) times.push_back(ms * 1e3f / static_cast<float>(n));
  }
  std::sort(times.begin(), times.end());
  cudaGraphExecDestroy(exec);
  cudaGraphDestroy(graph);
  cudaStreamDestroy(stream);
  return times[times.size() / 2];
}

std::string json;

void report(const std::string& op, const std::string& shape, double us, double bytes) {
  const double share = bytes / (us * 1e-6) / kCopyRate;
  std::printf("%-34s %-24s %9.1f us %8.1f MB %6.1f %% of the copy rate\n", op.c_str(), shape.c_str(), us,
              bytes * 1e-6, 100 * share);
  char line[256];
  std::snprintf(line, sizeof line,
                "%s  {\"op\": \"%s\", \"shape\": \"%s\", \"us\": %.2f, \"bytes\": %.0f, \"share\": %.3f}",
                json.empty() ? "" : ",\n", op.c_str(), shape.c_str(), us, bytes, share);
  json += line;
}

void time_rows(const QuantArgs& form, const char* name) {
  constexpr int64_t kHidden = 4096, kInner = 14336, kMost = 8192;
  const Memory residual(kCopies * kMost * kHidden * 2), gate_up(2 * kMost * 2 * kInner * 2),
      out(kMost * kInner * 4), scale(kMost * 4), gamma(kHidden * 4);
  for (const int64_t rows : {1, 16, 64, 256, 2048, 8192}) {
    const int copies = rows >= 2048 ? kCopies : 32;
    const auto at = [&](const Memory& m, int i, int64_t cols, int n) {
      return m.data + (rows >= 2048 ? i % n * kMost : (i * rows) % (n * kMost - rows)) * cols * 2;
    };
    const double out_bytes = static_cast<double>(qtype_bytes(form.type));
    const auto view = [&](int64_t cols) {
      return QView{out.data, form, rows, cols, cols, reinterpret_cast<float*>(scale.data), nullptr};
    };
    const std::string shape = std::to_string(rows) + " x ";
    report(std::string("norm -> ") + name, shape + "4096",
           time_us(copies,
                   [&](int i, cudaStream_t stream) {
                     const View x{at(residual, i, kHidden, kCopies), DType::kBF16, rows, kHidden, kHidden};
                     norm(x, reinterpret_cast<float*>(gamma.data), 1e-5f, view(kHidden), stream);
                   }),
           static_cast<double>(rows * kHidden) * (2 + out_bytes));
    report(std::string("quantize -> ") + name, shape + "4096",
           time_us(copies,
                   [&](int i, cudaStream_t stream) {
                     quantize({at(residual, i, kHidden, kCopies), DType::kBF16, rows, kHidden, kHidden},
                              view(kHidden), stream);
                   }),
           static_cast<double>(rows * kHidden) * (2 + out_bytes));
    report(std::string("silu_mul -> ") + name, shape + "14336",
           time_us(copies,
                   [&](int i, cudaStream_t stream) {
                     silu_mul({at(gate_up, i, 2 * kInner, 2), DType::kBF16, rows, 2 * kInner, 2 * kInner},
                              view(kInner), stream);
                   }),
           static_cast<double>(rows * kInner) * (4 + out_bytes));
  }
}

void time_sampling() {
  constexpr int64_t kVocab = 128256, kMost = 256;
  const Memory logits(2 * kMost * kVocab * 4), rows(kMost * sizeof(SampleRow)),
      out(kMost * sizeof(SampledToken)), tokens(kMost * 4);
  // Near normal logits of deviation 2: a flat distribution, the worst for the filters; `peaked`: 16 tokens
  // hold the mass.
  for (const bool peaked : {false, true}) {
    std::vector<float> host(kVocab);
    std::mt19937 generator(1);
    std::normal_distribution<float> normal(0, 2);
    for (int64_t r = 0; r < 2 * kMost; ++r) {
      for (float& v : host) v = normal(generator);
      for (int i = 0; peaked && i < 16; ++i) host[generator() % kVocab] = 16 + 0.3f * static_cast<float>(i);
      cudaMemcpy(logits.data + r * kVocab * 4, host.data(), kVocab * 4, cudaMemcpyHostToDevice);
      if (r % 8 == 0) generator.seed(static_cast<uint32_t>(r));
    }
    struct Case {
      const char* name;
      SamplingRow row;
    };
    for (const Case& c : {Case{"greedy", {}},
                          {"temperature", {.temperature = 0.8f}},
                          {"top-p 0.9", {.temperature = 0.8f, .top_p = 0.9f}},
                          {"top-k 50", {.temperature = 0.8f, .top_k = 50}},
                          {"top-k 50, top-p 0.9", {.temperature = 0.8f, .top_k = 50, .top_p = 0.9f}},
                          {"top-p 0.9, 5 logprobs", {.temperature = 0.8f, .top_p = 0.9f, .n_logprobs = 5}}}) {
      for (const int64_t batch : {1, 16, 64, 256}) {
        std::vector<SampleRow> parameters;
        for (int64_t r = 0; r < batch; ++r) {
          SamplingRow row = c.row;
          row.seed = static_cast<uint64_t>(r);
          parameters.push_back(to_sample_row(row));
        }
        cudaMemcpy(rows.data, parameters.data(), parameters.size() * sizeof(SampleRow),
                   cudaMemcpyHostToDevice);
        SampleInputs inputs;
        inputs.rows = reinterpret_cast<const SampleRow*>(rows.data);
        const double us = time_us(batch == 256 ? 4 : 16, [&](int i, cudaStream_t stream) {
          const int64_t first = i * batch % (2 * kMost);
          sample({logits.data + first * kVocab * 4, DType::kF32, batch, kVocab, kVocab}, inputs,
                 reinterpret_cast<SampledToken*>(out.data), reinterpret_cast<int32_t*>(tokens.data), stream);
        });
        report(std::string("sample ") + c.name + (peaked ? ", peaked" : ", flat"),
               std::to_string(batch) + " x 128256", us, static_cast<double>(batch * kVocab * 4));
      }
    }
  }
}

}  // namespace
}  // namespace octet::cuda

int main(int argc, char** argv) {
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("skipped: no CUDA device\n");
    return 0;
  }
  using namespace octet;
  cuda::time_rows({QType::kInt8, QScale::kToken, true}, "int8");
  cuda::time_rows({QType::kFp8, QScale::kToken, true}, "fp8");
  cuda::time_sampling();
  if (argc > 1) {
    std::FILE* file = std::fopen(argv[1], "w");
    if (file == nullptr) return 1;
    std::fprintf(file, "[\n%s\n]\n", cuda::json.c_str());
    std::fclose(file);
  }
  return 0;
}
