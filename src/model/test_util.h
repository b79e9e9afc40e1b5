// For tests of models: where test data lives, golden files, and running a prompt by hand.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "formats/safetensors.h"
#include "model/model.h"

namespace octet::test {

// The shared data folder, or empty where there is none. Tests run in the repository's root.
inline std::string shared_data() {
  const char* path = std::getenv("OCTET_SHARED");
  const std::string data = std::string(path != nullptr ? path : "../shared") + "/data";
  return std::filesystem::is_directory(data) ? data : "";
}

// golden.safetensors of a model folder: a prompt, its logits, and the greedy continuation of its first 16
// ids.
struct Golden {
  std::vector<int64_t> ids;     // [t]
  std::vector<float> logits;    // [t, vocab]
  std::vector<int64_t> greedy;  // [24]
};

inline Result<Golden> read_golden_file(const std::string& path) {
  OCTET_ASSIGN_OR_RETURN(const auto file, MappedFile::open(path));
  OCTET_ASSIGN_OR_RETURN(const auto entries, parse_safetensors(file->bytes(), path));
  Golden golden;
  for (const auto& e : entries) {
    const uint8_t* data = file->bytes().data() + e.begin;
    const size_t bytes = e.end - e.begin;
    if (e.name == "logits") {
      golden.logits.resize(bytes / sizeof(float));
      std::memcpy(golden.logits.data(), data, bytes);
    } else if (e.name == "ids" || e.name == "greedy") {
      auto& ids = e.name == "ids" ? golden.ids : golden.greedy;
      ids.resize(bytes / sizeof(int64_t));
      std::memcpy(ids.data(), data, bytes);
    }
  }
  return golden;
}

inline Result<Golden> read_golden(const std::string& folder) {
  return read_golden_file(folder + "/golden.safetensors");
}

// Logits in host memory, [rows, vocab], once the device has written them.
inline std::vector<float> read_logits(Model& model, const View& logits) {
  EXPECT_TRUE(model.ops().synchronize().ok());
  std::vector<float> values(static_cast<size_t>(logits.rows * logits.stride));
  if (!values.empty()) model.ops().download(values.data(), logits.data, values.size() * sizeof(float));
  return values;
}

// One sequence in the pages [first_page, ...): feeds tokens, remembers how many are in the cache.
class Feeder {
 public:
  explicit Feeder(Model& model, int32_t first_page = 0) : model_(model), first_page_(first_page) {}

  // Adds the tokens to `batch`; with `all_logits` each one's logits are wanted, else the last one's.
  void add(ForwardBatch& batch, const std::vector<int32_t>& ids, bool all_logits) {
    const int32_t page_size = model_.cache().page_size;
    const int32_t stride = (model_.max_context() + page_size - 1) / page_size;
    if (batch.query_start.empty()) batch.query_start.push_back(0);
    for (const int32_t& id : ids) {
      batch.token_ids.push_back(id);
      batch.positions.push_back(length_);
      batch.slots.push_back((first_page_ + length_ / page_size) * page_size + length_ % page_size);
      ++length_;
      if (all_logits || &id == &ids.back()) batch.logit_rows.push_back(batch.n_tokens() - 1);
    }
    batch.query_start.push_back(batch.n_tokens());
    batch.context_lens.push_back(length_);
    for (int32_t i = 0; i < stride; ++i) batch.page_table.push_back(first_page_ + i);
    batch.page_table_stride = stride;
  }

  // Feeds the tokens in chunks and returns the logits of all of them, [ids.size(), vocab].
  std::vector<float> logits(const std::vector<int32_t>& ids, int32_t chunk) {
    std::vector<float> all;
    for (size_t begin = 0; begin < ids.size(); begin += static_cast<size_t>(chunk)) {
      const size_t end = std::min(ids.size(), begin + static_cast<size_t>(chunk));
      ForwardBatch batch;
      add(batch, {ids.begin() + static_cast<ptrdiff_t>(begin), ids.begin() + static_cast<ptrdiff_t>(end)},
          true);
      const std::vector<float> rows = read_logits(model_, model_.forward(batch));
      all.insert(all.end(), rows.begin(), rows.end());
    }
    return all;
  }

 private:
  Model& model_;
  int32_t first_page_;
  int32_t length_ = 0;
};

// Mean over rows of KL(softmax(p) || softmax(q)).
inline double mean_kl(const std::vector<float>& p, const std::vector<float>& q, size_t vocab) {
  double total = 0;
  const size_t rows = p.size() / vocab;
  for (size_t r = 0; r < rows; ++r) {
    const float *a = p.data() + r * vocab, *b = q.data() + r * vocab;
    double za = 0, zb = 0;
    const float ma = *std::max_element(a, a + vocab), mb = *std::max_element(b, b + vocab);
    for (size_t i = 0; i < vocab; ++i) {
      za += std::exp(static_cast<double>(a[i]) - ma);
      zb += std::exp(static_cast<double>(b[i]) - mb);
    }
    for (size_t i = 0; i < vocab; ++i) {
      const double la = a[i] - ma - std::log(za), lb = b[i] - mb - std::log(zb);
      total += std::exp(la) * (la - lb);
    }
  }
  return total / static_cast<double>(rows);
}

}  // namespace octet::test
