// Any bytes as a safetensors file and as an index: an answer or an error, and every entry within the file.
// octet: link octet_formats
#include "formats/row_codec.h"
#include "formats/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const uint8_t> bytes(data, size);
  const auto entries = octet::parse_safetensors(bytes, "fuzz");
  if (entries.ok()) {
    for (const auto& entry : *entries) {
      int64_t values = 1;
      for (const int64_t dim : entry.shape) values *= dim;
      std::vector<float> out(static_cast<size_t>(values));
      octet::values_to_f32(entry.type, data + entry.begin, values, out.data());
    }
  }
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)octet::parse_safetensors_index(text, "fuzz");
  return 0;
}
