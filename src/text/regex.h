// The regular expressions of tokenizer.json, run by PCRE2 (UTF, Unicode properties, JIT). They are written
// for Oniguruma's Ruby syntax; compile() translates what differs (regex_syntax.h) and refuses what has no
// equal.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

struct pcre2_real_code_8;

namespace octet {

struct Span {
  size_t begin, end;
  size_t size() const { return end - begin; }
  std::string_view of(std::string_view text) const { return text.substr(begin, end - begin); }
};

class Regex {
 public:
  // Errors: kInvalidArgument (no regular expression), kUnsupported (a construct PCRE2 reads in another way).
  static Result<Regex> compile(const std::string& pattern);

  // Appends all matches that do not overlap, from left to right, to `matches`. `subject` is valid UTF-8.
  // A pattern that backtracks without bound (more than a million steps plus 64 a byte for one match) stops
  // there and leaves the rest of the subject unmatched; those of the known families are linear.
  void find_all(std::string_view subject, std::vector<Span>* matches) const;

 private:
  struct Free {
    void operator()(pcre2_real_code_8* code) const;
  };
  explicit Regex(pcre2_real_code_8* code) : code_(code) {}
  std::unique_ptr<pcre2_real_code_8, Free> code_;
};

}  // namespace octet
