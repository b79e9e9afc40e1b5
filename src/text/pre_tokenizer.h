// Cuts a text into the pieces that the model encodes one by one. The pre-tokenizers of tokenizer.json by
// their names there; a sequence is applied in order, each step to the pieces of the one before.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/regex.h"

namespace octet {

struct Pieces {
  std::string text;         // valid UTF-8
  std::vector<Span> spans;  // in order, not empty, not overlapping; gaps are text that was removed
  bool at_start = true;     // the text's start is the whole input's start
};

enum class SplitBehavior { kIsolated, kRemoved, kContiguous, kMergedWithPrevious, kMergedWithNext };

struct SplitStep {
  std::variant<std::string, Regex> pattern;
  SplitBehavior behavior = SplitBehavior::kIsolated;
  bool invert = false;
};
struct DigitsStep {
  bool individual = false;
};
struct ByteLevelStep {
  bool add_prefix_space = false;
  std::optional<Regex> split;  // GPT-2's pattern, or none
};
struct MetaspaceStep {
  enum class Prepend { kAlways, kFirst, kNever };
  std::string replacement = "\xE2\x96\x81";  // U+2581
  Prepend prepend = Prepend::kAlways;
  bool split = true;
};

class PreTokenizer {
 public:
  using Step = std::variant<SplitStep, DigitsStep, ByteLevelStep, MetaspaceStep>;
  void add(Step step);

  Pieces apply(std::string text, bool at_start) const;

 private:
  std::vector<Step> steps_;
};

// The pattern of GPT-2, which ByteLevel splits by.
inline constexpr const char* kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

}  // namespace octet
