// A file that says how a model is to be quantized, for `octet quantize --recipe`:
//
//   {
//     "octet_recipe": 1,
//     "scheme": "int8-minmax",
//     "layers": {"model.layers.0": "bf16", "model.layers.3.mlp.down_proj": "fp8"},
//     "quantize_head": false
//   }
//
// `layers` names linear layers, or all of those below a name; the longer name wins. What is not named is in
// `scheme`.
#pragma once

#include <map>
#include <string>

#include "formats/model_config.h"
#include "quantize/quantize.h"

namespace octet {

struct RecipeFile {
  std::string scheme;
  std::map<std::string, std::string> layers;
  bool quantize_head = false;
};

std::string recipe_text(const RecipeFile& recipe);

// Errors, each naming the file and the key (or line): not JSON, another version, a key that is not known, a
// scheme that there is not, a layer that the model does not have.
Result<RecipeFile> parse_recipe(const std::string& text, const std::string& file, const ModelConfig& config);

// As options of quantize: overrides in the order in which they count.
void apply_recipe(const RecipeFile& recipe, QuantizeOptions* options);

}  // namespace octet
