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

class ModuleMatcher {
 public:
  // How specific a match is: a higher one wins over a lower one of another group.
  enum Match { kNone, kClass, kRegex, kName };

  // kCorrupt for a regular expression that is none, kUnsupported for more than 64 of them.
  static Result<ModuleMatcher> compile(const std::vector<std::string>& targets);
  ModuleMatcher(ModuleMatcher&&) noexcept;
  ModuleMatcher& operator=(ModuleMatcher&&) noexcept;
  ~ModuleMatcher();

  // kUnsupported where an expression takes too many steps on `module`.
  Result<Match> match(const std::string& module) const;

 private:
  struct Regex;
  ModuleMatcher();
  std::unordered_set<std::string> names_;
  std::vector<std::unique_ptr<Regex>> regexes_;
};

}  // namespace octet
