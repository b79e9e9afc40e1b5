// Figures of others, measured on one H100 SXM (docs/kernels.md), to stand beside what is measured now.
#include "bench/kernels.h"

namespace octet {
namespace {

bool is_h100(const std::string& device) {
  return device.find("H100 80GB HBM3") != std::string::npos;
}

constexpr char kCutlass[] = "CUTLASS 4.2", kCublas[] = "cuBLASLt 13.1";

struct Product {
  QType type;
  int64_t m;
  // Llama-3.1-8B's qkv 6144x4096, o 4096x4096, gate_up 28672x4096, down 4096x14336.
  double us[4];
  const char* name;
};

// The best of each library's configurations, weights cold in L2; 8 bit with a scale a token and a channel.
constexpr Product kProducts[] = {
    {QType::kFp8, 1, {10.9, 8.2, 42.5, 23.0}, kCutlass},
    {QType::kFp8, 16, {11.1, 8.4, 43.8, 23.2}, kCutlass},
    {QType::kFp8, 32, {11.3, 8.5, 46.0, 24.3}, kCutlass},
    {QType::kFp8, 64, {11.1, 8.0, 46.0, 23.7}, kCutlass},
    {QType::kFp8, 128, {13.5, 9.4, 48.7, 26.6}, kCutlass},
    {QType::kFp8, 256, {14.6, 10.3, 56.3, 27.9}, kCutlass},
    {QType::kFp8, 2048, {77.9, 50.9, 337, 161}, kCutlass},
    {QType::kInt8, 2048, {77.8, 48.6, 311, 147}, kCutlass},
    {QType::kBF16, 1, {20.5, 15.2, 82.4, 45.8}, kCublas},
    {QType::kBF16, 256, {24.5, 18.6, 100.5, 58.1}, kCublas},
    {QType::kBF16, 2048, {132.8, 88.1, 627, 296}, kCublas},
};
constexpr std::pair<int64_t, int64_t> kShapes[] = {{6144, 4096}, {4096, 4096}, {28672, 4096}, {4096, 14336}};

}  // namespace

LibraryFigure library_product(const std::string& device, QType type, int64_t m, int64_t n, int64_t k) {
  if (!is_h100(device)) return {};
  const auto find = [&](QType wanted) -> LibraryFigure {
    for (const Product& p : kProducts) {
      for (size_t i = 0; i < 4; ++i)
        if (p.type == wanted && p.m == m && kShapes[i] == std::pair{n, k}) return {p.us[i], p.name};
    }
    return {};
  };
  const LibraryFigure own = find(type);
  // Few tokens take as long in int8 as in fp8.
  return own.us == 0 && type == QType::kInt8 && m <= 256 ? find(QType::kFp8) : own;
}

}  // namespace octet
