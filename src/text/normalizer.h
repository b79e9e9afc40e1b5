// What happens to a text before it is split: Unicode composition, a character put before it, replacements.
// The normalizers of tokenizer.json by their names there.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "text/regex.h"

namespace octet {

struct NfcStep {};  // canonical composition
struct PrependStep {
  std::string text;  // not put before an empty text
};
struct ReplaceStep {
  std::variant<std::string, Regex> pattern;
  std::string with;  // literally, without references to groups
};

class Normalizer {
 public:
  using Step = std::variant<NfcStep, PrependStep, ReplaceStep>;
  void add(Step step);
  bool empty() const { return steps_.empty(); }

  std::string apply(std::string_view text) const;  // valid UTF-8 in and out

 private:
  std::vector<Step> steps_;
};

std::string replace_all(std::string_view text, std::string_view from, std::string_view to);

// Unicode's normalization form C in n log n, whatever the text.
std::string to_nfc(std::string_view text);

}  // namespace octet
