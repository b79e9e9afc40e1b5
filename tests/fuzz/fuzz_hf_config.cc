// Any bytes as config.json, generation_config.json and the quantization_config in it.
// octet: link octet_formats
#include <nlohmann/json.hpp>

#include "formats/checkpoint.h"
#include "formats/hf_config.h"
#include "formats/hf_config_writer.h"
#include "formats/json_fields.h"
#include "formats/quantization_config.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto json = octet::parse_json({reinterpret_cast<const char*>(data), size}, "fuzz");
  if (!json.ok()) return 0;
  octet::ModelConfig config;
  octet::GenerationDefaults defaults;
  (void)octet::parse_generation_config(*json, "fuzz", &config, &defaults);
  auto parsed = octet::parse_hf_config(*json, "fuzz");
  if (parsed.ok()) (void)octet::make_hf_config(*parsed, *json);
  config.n_layers = 2;
  (void)octet::parse_quantization_config(*json, octet::linear_modules(config), "fuzz");
  return 0;
}
