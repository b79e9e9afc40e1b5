// Which modules a list of targets means, as compressed-tensors matches them: a module's own name, "re:" and a
// regular expression that matches from the name's begin, or the class "Linear".
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/status.h"

namespace octet {

// A regular expression over module names (PCRE2), with bounds on its length and on the steps it takes.
class ModuleRegex {
 public:
  // `anchored`: matches from the name's begin, else anywhere in it. kInvalidArgument for one that is none.
  static Result<ModuleRegex> compile(const std::string& pattern, bool anchored);
  ModuleRegex(ModuleRegex&&) noexcept;
  ~ModuleRegex();
  // kUnsupported where it takes too many steps on `module`.
  Result<bool> matches(const std::string& module) const;

 private:
  struct Code;
  ModuleRegex(std::string text, std::unique_ptr<Code> code);
  std::string text_;
  std::unique_ptr<Code> code_;
};

class ModuleMatcher {
 public:
  // How specific a match is: a higher one wins over a lower one of another group.
  enum Match { kNone, kClass, kRegex, kName };

  // kCorrupt for a regular expression that is none, kUnsupported for more than 64 of them.
  static Result<ModuleMatcher> compile(const std::vector<std::string>& targets);
  // kUnsupported where an expression takes too many steps on `module`.
  Result<Match> match(const std::string& module) const;

 private:
  std::unordered_set<std::string> names_;
  std::vector<ModuleRegex> regexes_;
};

}  // namespace octet
