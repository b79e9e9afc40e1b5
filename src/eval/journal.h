// What a long evaluation has done so far, beside its output: a line of JSON that says which run it is, then
// one line a finished unit, appended as it is finished. A line that was cut off (the machine stopped) is
// dropped when the file is read, so each unit is in it whole or not at all.
#pragma once

#include <map>
#include <string>

#include <nlohmann/json.hpp>

#include "base/status.h"

namespace octet {

class Journal {
 public:
  // An empty path: nothing is kept. Errors: the file is another run's (what differs is named), or no such
  // file, or cannot be written.
  static Result<Journal> open(const std::string& path, const nlohmann::json& run);
  Journal(Journal&& other) noexcept;
  Journal& operator=(Journal&&) = delete;
  ~Journal();

  // Units that an earlier run has finished.
  const std::map<std::string, nlohmann::json>& done() const { return done_; }
  Status append(const std::string& unit, const nlohmann::json& result);
  void remove();  // the run is complete, its output written

 private:
  Journal(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  std::string path_;
  int fd_ = -1;
  std::map<std::string, nlohmann::json> done_;
};

}  // namespace octet
