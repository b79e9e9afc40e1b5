// What linear_tensors writes is what read_stored_linear reads, scheme by scheme; and what makes a stored
// module wrong.
#include <cmath>
#include <cstring>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "formats/quantization_config.h"
#include "formats/test_util.h"
#include "formats/writer.h"
#include "tensor/quantize_rows.h"

namespace octet {
namespace {

using testing::TempFolder;

// A module with every code and scale set, in a scheme.
HostLinear make_module(const QuantScheme& scheme, int64_t n, int64_t k) {
  HostLinear linear;
  linear.n = n;
  linear.k = k;
  linear.scheme = scheme;
  linear.codes.resize(static_cast<size_t>(n) * code_bytes(scheme.weight.type, k));
  linear.scale.assign(static_cast<size_t>(scale_count(scheme.weight, n, k)), 0.0078125f);
  std::vector<float> values(static_cast<size_t>(n * k));
  for (size_t i = 0; i < values.size(); ++i) values[i] = std::sin(static_cast<float>(i) * 0.7f);
  quantize_rows(values.data(), n, k, scheme.weight, linear.codes.data(), linear.scale.data());
  if (scheme.static_input()) linear.input_scale = {0.03125f};
  if (!scheme.input.symmetric) linear.input_zero_point = {-17};
  return linear;
}

// The tiny model with all its linear layers in `scheme`, as the writer stores it.
std::map<std::string, HostLinear> write_model(const TempFolder& folder, const QuantScheme& scheme,
                                              const KvQuant* kv = nullptr) {
  const TempFolder source_folder;
  testing::write_tiny_model(source_folder, testing::tiny_config());
  const auto source = *Checkpoint::open(source_folder.path());
  std::map<std::string, HostLinear> linears;
  std::map<std::string, QuantScheme> modules;
  for (const auto& module : linear_modules(source->config)) {
    const auto [n, k] = linear_shape(source->config, module);
    linears[module] = make_module(scheme, n, k);
    modules[module] = scheme;
  }
  modules["lm_head"] = {QuantArgs{source->config.dtype}, QuantArgs{source->config.dtype}};
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, tensor] : source->tensors) {
    const std::string module = name.substr(0, name.rfind('.'));
    if (const auto it = linears.find(module); it != linears.end()) {
      const HostLinear* linear = &it->second;
      for (auto& t : linear_tensors(module, scheme, linear->n, linear->k,
                                    [linear]() -> Result<const HostLinear*> { return linear; })) {
        tensors.push_back(std::move(t));
      }
      continue;
    }
    tensors.push_back({name, tensor.type, tensor.shape, [&source, &tensor = tensor](std::span<uint8_t> out) {
                         return source->read_rows_raw(tensor, 0, tensor.rows(), out.data());
                       }});
  }
  for (int layer = 0; kv != nullptr && layer < 2; ++layer) {
    for (const char* suffix : {"k_scale", "v_scale"}) {
      tensors.push_back({"model.layers." + std::to_string(layer) + ".self_attn." + suffix,
                         DType::kBF16,
                         {kv->per_head ? 2 : 1},
                         [](std::span<uint8_t> out) {
                           for (size_t i = 0; i < out.size(); i += 2) out[i] = 0, out[i + 1] = 0x3c;
                           return Status();
                         }});
    }
  }
  EXPECT_TRUE(write_safetensors(folder.path(), tensors, size_t{1} << 30, [](size_t) {}).ok());
  const Status status = write_model_files(folder.path(), *source, modules, kv);
  EXPECT_TRUE(status.ok()) << status.message();
  return linears;
}

class StoredSchemes : public ::testing::TestWithParam<std::string> {};

TEST_P(StoredSchemes, WhatIsWrittenIsReadBack) {
  const TempFolder folder;
  const QuantScheme scheme = *scheme_by_name(GetParam());
  const auto written = write_model(folder, scheme);
  const auto checkpoint = Checkpoint::open(folder.path());
  ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  for (const auto& [module, linear] : written) {
    EXPECT_EQ((*checkpoint)->scheme_of(module), scheme) << module;
    const auto read = read_stored_linear(**checkpoint, module);
    ASSERT_TRUE(read.ok()) << read.status().message();
    EXPECT_EQ(read->codes, linear.codes) << module;
    EXPECT_EQ(read->scale, linear.scale) << module;
    EXPECT_EQ(read->input_scale, linear.input_scale);
    EXPECT_EQ(read->input_zero_point, linear.input_zero_point);
  }
}

INSTANTIATE_TEST_SUITE_P(Schemes, StoredSchemes,
                         ::testing::Values("int8", "int8-static", "int8-static-asym", "fp8", "fp8-static",
                                           "llm-int8:5.5", "w8a16", "w8a16-fp8", "w4a16:32"),
                         [](const auto& info) {
                           std::string name = info.param;
                           for (char& c : name)
                             c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
                           return name;
                         });

TEST(StoredKvScales, OneForAllHeadsOrOneForEach) {
  for (const bool per_head : {false, true}) {
    const TempFolder folder;
    const KvQuant kv{.type = QType::kFp8, .dynamic = false, .per_head = per_head};
    write_model(folder, *scheme_by_name("fp8-static"), &kv);
    const auto checkpoint = Checkpoint::open(folder.path());
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    EXPECT_EQ((*checkpoint)->kv_quant, kv);
    const auto scales = read_kv_scales(**checkpoint, 1);
    ASSERT_TRUE(scales.ok()) << scales.status().message();
    EXPECT_EQ(scales->k, std::vector<float>(2, 0x1p-7f));
    EXPECT_EQ(scales->v, std::vector<float>(2, 0x1p-7f));
  }
}

// The bytes of one tensor of the folder's only file, replaced.
void overwrite(const TempFolder& folder, const std::string& name, const std::string& bytes) {
  std::string file = folder.read("model.safetensors");
  uint64_t header = 0;
  std::memcpy(&header, file.data(), sizeof(header));
  const auto offsets = nlohmann::json::parse(file.substr(8, header))[name]["data_offsets"];
  file.replace(8 + header + offsets[0].get<size_t>(), bytes.size(), bytes);
  folder.write("model.safetensors", file);
}

std::string error_of(const TempFolder& folder, const std::string& module) {
  const auto checkpoint = Checkpoint::open(folder.path());
  if (!checkpoint.ok()) return checkpoint.status().message();
  return read_stored_linear(**checkpoint, module).status().message();
}

TEST(StoredLinear, ScalesThatAreNoScalesAreNamed) {
  const std::string module = "model.layers.1.mlp.up_proj", nan("\x80\x7f", 2), negative("\x00\xbc", 2),
                    zero(2, '\0');
  const TempFolder folder;
  write_model(folder, *scheme_by_name("int8-static-asym"));
  EXPECT_EQ(error_of(folder, module), "");
  overwrite(folder, module + ".input_scale", zero);
  EXPECT_NE(error_of(folder, module).find("up_proj.input_scale' is 0; expected a positive number"),
            std::string::npos)
      << error_of(folder, module);
  for (const auto& scale : {nan, negative}) {
    overwrite(folder, module + ".weight_scale", scale);
    EXPECT_NE(error_of(folder, module).find("up_proj.weight_scale': scale 0 is"), std::string::npos)
        << error_of(folder, module);
  }
  overwrite(folder, module + ".weight_scale", zero);  // a channel of zeros
  EXPECT_NE(error_of(folder, module).find("input_scale"), std::string::npos);
}

TEST(StoredLinear, OtherLayoutsAreRefused) {
  const TempFolder folder;
  write_model(folder, *scheme_by_name("llm-int8"));
  overwrite(folder, "model.layers.0.mlp.up_proj.weight_format", std::string(1, '\3'));
  EXPECT_NE(error_of(folder, "model.layers.0.mlp.up_proj")
                .find("weight_format: expected 0, a weight stored by rows"),
            std::string::npos)
      << error_of(folder, "model.layers.0.mlp.up_proj");
}

}  // namespace
}  // namespace octet
