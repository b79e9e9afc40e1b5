// Any bytes as a GGUF file: container, configuration, vocabulary, the tokenizer.json made of it, and every
// value. octet: link octet_formats
#include "formats/gguf.h"
#include "formats/gguf_model.h"
#include "formats/row_codec.h"
#include "formats/tokenizer_writer.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto gguf = octet::parse_gguf({data, size}, "fuzz");
  if (!gguf.ok()) return 0;
  for (const auto& tensor : gguf->tensors) {
    (void)octet::canonical_tensor_name(tensor.name);
    int64_t values = 1;
    for (const int64_t dim : tensor.shape) values *= dim;
    std::vector<float> out(static_cast<size_t>(values));
    octet::values_to_f32(tensor.type, tensor.data.data(), values, out.data());
  }
  (void)octet::gguf_model_config(*gguf, "fuzz");
  const auto tokenizer = octet::gguf_tokenizer(*gguf, "fuzz");
  if (tokenizer.ok() && !tokenizer->empty()) {
    (void)octet::make_tokenizer_json(tokenizer->gguf);
    (void)octet::make_tokenizer_config(tokenizer->gguf, 1);
  }
  return 0;
}
