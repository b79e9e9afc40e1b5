#include "formats/inspect.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <string>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/session.h"
#include "model/model_sizes.h"

namespace octet {
namespace {

struct Args {
  ModelArgs model;
  bool tensors = false, json = false;
};

constexpr int32_t kBatches[] = {1, 4, 16, 64, 256};

// Contexts worth a row: powers of four up to the model's own, and that one.
std::vector<int32_t> contexts(int32_t largest) {
  std::vector<int32_t> rows;
  for (int64_t c = 2048; c < largest; c *= 4) rows.push_back(static_cast<int32_t>(c));
  rows.push_back(largest);
  return rows;
}

// Bytes for serving `batch` sequences of `context` tokens each, by the same plan that `serve` makes.
Result<int64_t> bytes_for(const Checkpoint& checkpoint, const Ops& ops, ModelOptions options, int32_t batch,
                          int32_t context) {
  options.max_batch = batch;
  options.max_context = context;
  if (options.max_step_tokens > 0) options.max_step_tokens = std::max(options.max_step_tokens, batch);
  options.kv_bytes = int64_t{1} << 50;  // no bound: the table shows what would be needed
  OCTET_ASSIGN_OR_RETURN(const ModelSizes sizes, model_sizes(checkpoint, ops, options));
  return sizes.plan.total();
}

int run(const Args& args) {
  auto checkpoint = open_checkpoint(args.model);
  if (!checkpoint.ok()) return fail(checkpoint.status());
  auto ops = make_ops(args.model);
  if (!ops.ok()) return fail(ops.status());
  const Inspection inspection = inspect(**checkpoint);
  auto json = to_json(inspection);
  std::string text = to_text(inspection);
  char cell[64];

  if (!args.model.options.scheme.empty()) {
    const auto sizes = model_sizes(**checkpoint, **ops, args.model.options);
    if (!sizes.ok()) return fail(sizes.status());
    std::map<std::string, int64_t> modules;
    for (const auto& [module, scheme] : sizes->schemes) ++modules[scheme_name(scheme)];
    for (const auto& [scheme, count] : modules) {
      text += "served as     " + scheme + " in " + std::to_string(count) + " linear modules\n";
      json["served_as"].push_back({{"scheme", scheme}, {"modules", count}});
    }
  }
  text += "\nmemory to serve, MiB\n" + std::string(12, ' ');
  for (const int32_t batch : kBatches) {
    std::snprintf(cell, sizeof(cell), "%12s", ("batch " + std::to_string(batch)).c_str());
    text += cell;
  }
  text += "\n";
  for (const int32_t context : contexts((*checkpoint)->config.max_context)) {
    std::snprintf(cell, sizeof(cell), "%12s", (std::to_string(context) + " tok").c_str());
    text += cell;
    for (const int32_t batch : kBatches) {
      const auto bytes = bytes_for(**checkpoint, **ops, args.model.options, batch, context);
      if (!bytes.ok()) return fail(bytes.status());
      std::snprintf(cell, sizeof(cell), "%12.0f", static_cast<double>(*bytes) / (1 << 20));
      text += cell;
      json["memory"].push_back({{"context", context}, {"batch", batch}, {"bytes", *bytes}});
    }
    text += "\n";
  }
  if (args.tensors) {
    text += "\n";
    for (const auto& [name, tensor] : (*checkpoint)->tensors) {
      std::string shape;
      for (const int64_t d : tensor.shape) shape += (shape.empty() ? "" : " x ") + std::to_string(d);
      text += name + "  " + dtype_name(tensor.type) + "  " + shape + "\n";
      json["tensors"].push_back({{"name", name}, {"type", dtype_name(tensor.type)}, {"shape", tensor.shape}});
    }
  }
  std::printf("%s\n", args.json ? json.dump(2).c_str() : text.c_str());
  return 0;
}

}  // namespace

void add_inspect(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("inspect", "Show what a checkpoint is and what serving it takes");
  auto args = std::make_shared<Args>();
  add_model_options(*command, args->model);
  command->add_flag("--tensors", args->tensors, "list every tensor");
  command->add_flag("--json", args->json, "print JSON");
  command->footer(
      "Example:\n  octet inspect models/smollm2-135m-instruct.gguf --scheme int8-minmax\n"
      "  octet inspect --random-weights llama-3.1-8b --scheme fp8 --kv-dtype fp8");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace octet
