// Events of a stranger's server, cut into pieces of a size that the first byte says.
// octet: link octet_bench
#include <cstddef>
#include <cstdint>

#include "bench/sse_reader.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const size_t piece = data[0] % 64 + 1;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  octet::SseReader reader;
  for (size_t i = 0; i < bytes.size(); i += piece) {
    reader.feed(bytes.substr(i, piece), [](const octet::SseReader::Event&) {});
  }
  return 0;
}
