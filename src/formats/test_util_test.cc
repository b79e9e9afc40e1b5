#include "formats/test_util.h"

#include <nlohmann/json.hpp>

#include "formats/hf_config_writer.h"
#include "formats/writer.h"

namespace octet::testing {
namespace {

std::map<std::string, QuantScheme> all_modules(const ModelConfig& config, const QuantScheme& blocks) {
  std::map<std::string, QuantScheme> modules;
  for (const auto& module : linear_modules(config)) modules[module] = blocks;
  modules["lm_head"] = QuantScheme{};
  return modules;
}

std::shared_ptr<Checkpoint> random_model(const TempFolder& folder, const ModelConfig& config) {
  const auto json = make_hf_config(config, nlohmann::json::object());
  EXPECT_TRUE(json.ok()) << json.status().message();
  folder.write("config.json", json->dump());
  auto checkpoint = Checkpoint::random(folder.path());
  EXPECT_TRUE(checkpoint.ok()) << checkpoint.status().message();
  return *checkpoint;
}

void write(const TempFolder& folder, const Checkpoint& source, const std::vector<TensorToWrite>& tensors,
           const QuantScheme& blocks) {
  const Status written = write_safetensors(folder.path(), tensors, size_t{1} << 30, nullptr);
  ASSERT_TRUE(written.ok()) << written.message();
  const Status files = write_model_files(folder.path(), source, all_modules(source.config, blocks), nullptr);
  ASSERT_TRUE(files.ok()) << files.message();
}

}  // namespace

void write_tiny_model(const TempFolder& folder, const ModelConfig& config) {
  const auto source = random_model(folder, config);
  std::vector<TensorToWrite> tensors;
  for (const auto& [name, tensor] : source->tensors) {
    tensors.push_back({name, tensor.type, tensor.shape, [source, &tensor = tensor](std::span<uint8_t> out) {
                         return source->read_rows_raw(tensor, 0, tensor.rows(), out.data());
                       }});
  }
  write(folder, *source, tensors, QuantScheme{});
}

void write_tiny_quantized_model(const TempFolder& folder, const ModelConfig& config,
                                const QuantScheme& scheme) {
  const auto source = random_model(folder, config);
  std::vector<TensorToWrite> tensors;
  const auto modules = linear_modules(config);
  for (const auto& [name, tensor] : source->tensors) {
    const std::string module = name.substr(0, name.rfind('.'));
    const bool quantized =
        name.ends_with(".weight") && std::find(modules.begin(), modules.end(), module) != modules.end();
    if (!quantized) {
      tensors.push_back({name, tensor.type, tensor.shape, [source, &tensor = tensor](std::span<uint8_t> out) {
                           return source->read_rows_raw(tensor, 0, tensor.rows(), out.data());
                         }});
      continue;
    }
    const DType type = scheme.weight.type == QType::kInt8 ? DType::kI8 : DType::kF8E4M3;
    tensors.push_back({name, type, tensor.shape, [](std::span<uint8_t> out) {
                         for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<uint8_t>(i % 100);
                         return Status();
                       }});
    tensors.push_back(
        {module + ".weight_scale", DType::kBF16, {tensor.rows(), 1}, [](std::span<uint8_t> out) {
           for (size_t i = 0; i < out.size(); i += 2) out[i] = 0, out[i + 1] = 0x3c;  // 2^-7
           return Status();
         }});
  }
  write(folder, *source, tensors, scheme);
}

}  // namespace octet::testing
