// Where tests find the data that users do not have: ../shared beside the repository, or $OCTET_SHARED.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

namespace octet {

inline std::string shared_path(const std::string& name) {
  const char* root = std::getenv("OCTET_SHARED");
  return std::string(root != nullptr ? root : "../shared") + "/" + name;
}

inline std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

inline std::vector<std::string> split_text(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  for (size_t at = 0;;) {
    const size_t found = text.find(separator, at);
    parts.push_back(text.substr(at, found - at));
    if (found == std::string::npos) return parts;
    at = found + separator.size();
  }
}

}  // namespace octet

// Skips the test where `path` is not there.
#define OCTET_NEEDS_SHARED(path) \
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "needs " << (path) << ", which is not there"
