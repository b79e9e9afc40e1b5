#include "model/model.h"

#include <set>

#include "model/llama.h"
#include "model/model_sizes.h"
#include "model/rope.h"

namespace octet {

struct Model::Impl {
  std::unique_ptr<Ops> ops;  // first: everything below is its memory
  ModelConfig config;
  ModelOptions options;
  ModelSizes sizes;
  bool smoothed = false;
  ModelWeights weights;
  Buffer rope_table;
  Activations activations;
  KvCache cache;
};

Result<MemoryPlan> Model::plan(const Checkpoint& checkpoint, const Ops& ops, const ModelOptions& options) {
  OCTET_ASSIGN_OR_RETURN(const ModelSizes sizes, model_sizes(checkpoint, ops, options));
  OCTET_RETURN_IF_ERROR(check_memory(sizes.plan, ops.info().memory_available));
  return sizes.plan;
}

Result<std::unique_ptr<Model>> Model::load(std::shared_ptr<Checkpoint> checkpoint, std::unique_ptr<Ops> ops,
                                           const ModelOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->config = checkpoint->config;
  impl->smoothed = checkpoint->smoothed();
  impl->options = options;
  OCTET_ASSIGN_OR_RETURN(impl->sizes, model_sizes(*checkpoint, *ops, options));
  const ModelSizes& sizes = impl->sizes;
  OCTET_RETURN_IF_ERROR(check_memory(sizes.plan, ops->info().memory_available));
  OCTET_RETURN_IF_ERROR(ops->reserve(sizes.limits));
  OCTET_ASSIGN_OR_RETURN(impl->weights, load_weights(*checkpoint, sizes.schemes, *ops));

  const auto table = rope_table(impl->config.rope, impl->config.head_dim, sizes.max_context);
  OCTET_ASSIGN_OR_RETURN(impl->rope_table, ops->allocate(table.size() * sizeof(float)));
  ops->upload(impl->rope_table.data(), table.data(), table.size() * sizeof(float));
  OCTET_ASSIGN_OR_RETURN(impl->activations, Activations::create(*ops, sizes.activations));
  std::vector<KvScales> kv_scales;
  for (int32_t layer = 0; !sizes.kv.dynamic && layer < impl->config.n_layers; ++layer) {
    OCTET_ASSIGN_OR_RETURN(auto scales, read_kv_scales(*checkpoint, layer));
    kv_scales.push_back(std::move(scales));
  }
  OCTET_ASSIGN_OR_RETURN(impl->cache, KvCache::create(*ops, sizes.attention, sizes.kv, sizes.page_size,
                                                      sizes.plan.kv_pages, impl->config.n_layers, kv_scales));
  impl->ops = std::move(ops);
  return std::unique_ptr<Model>(new Model(std::move(impl)));
}

Model::Model(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Model::~Model() = default;

View Model::forward(const ForwardBatch& batch) {
  OCTET_CHECK(batch.n_tokens() <= max_step_tokens() && batch.n_logits() <= max_logits());
  const Impl& m = *impl_;
  RopeSpec rope;
  rope.cos_sin = m.rope_table.as<float>();
  rope.norm_eps = m.config.norm_eps;
  return llama_forward({*m.ops, m.config, m.weights, m.activations, m.cache, m.sizes.attention, rope}, batch);
}

Ops& Model::ops() {
  return *impl_->ops;
}
const ModelConfig& Model::config() const {
  return impl_->config;
}
const MemoryPlan& Model::memory() const {
  return impl_->sizes.plan;
}
const KvCache& Model::cache() const {
  return impl_->cache;
}
int32_t Model::max_batch() const {
  return impl_->options.max_batch;
}
int32_t Model::max_logits() const {
  return impl_->sizes.limits.max_logits;
}
int32_t Model::max_step_tokens() const {
  return impl_->sizes.limits.max_tokens;
}
int32_t Model::max_context() const {
  return impl_->sizes.max_context;
}
std::string Model::kv_name() const {
  return to_string(impl_->sizes.kv);
}

std::string Model::scheme_name() const {
  std::set<std::string> names;
  for (const auto& [module, scheme] : impl_->sizes.schemes) {
    if (module != "lm_head") names.insert(octet::scheme_name(scheme, impl_->smoothed));
  }
  std::string joined;
  for (const auto& name : names) joined += (joined.empty() ? "" : " + ") + name;
  return names.size() == 1 ? joined : "mixed: " + joined;
}

}  // namespace octet
