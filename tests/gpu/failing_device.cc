// A CUDA backend whose device fails while it works: liboctet_cuda.so beside this library, but one step, the
// $OCTET_FAIL_AT_STEP'th (20), writes a key far outside of the cache. What comes is a real fault of the GPU,
// an illegal address, which no later call recovers from. Given to the program as $OCTET_CUDA_LIBRARY.
#include <cstdlib>
#include <filesystem>

#include <dlfcn.h>

#include "backend/cuda/abi.h"
#include "backend/cuda/plugin.h"
#include "backend/observing_ops.h"

namespace octet {
namespace {

constexpr int32_t kFarAway = 1 << 30;  // a slot: tokens after the cache's first

class FailingOps final : public ObservingOps {
 public:
  FailingOps(std::unique_ptr<Ops> inner, int fail_at)
      : ObservingOps(*inner), owned_(std::move(inner)), steps_left_(fail_at) {}
  BatchView stage(const ForwardBatch& batch) override {
    if (--steps_left_ != 0) return ObservingOps::stage(batch);
    ForwardBatch broken = batch;
    broken.slots.back() = kFarAway;
    return ObservingOps::stage(broken);
  }

 private:
  const std::unique_ptr<Ops> owned_;
  int steps_left_;
};

const CudaPlugin* real_plugin() {
  Dl_info own;
  if (dladdr(reinterpret_cast<const void*>(&real_plugin), &own) == 0) return nullptr;
  const auto path = std::filesystem::path(own.dli_fname).parent_path() / "liboctet_cuda.so";
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) return nullptr;
  const auto entry = reinterpret_cast<CudaPluginEntry>(dlsym(library, kCudaPluginSymbol));
  return entry != nullptr ? entry() : nullptr;
}

Result<std::vector<CudaDevice>> devices() {
  const CudaPlugin* real = real_plugin();
  if (real == nullptr) return not_found("liboctet_cuda.so is not beside the library that fails");
  return real->devices();
}

Result<std::unique_ptr<Ops>> make_ops(const CudaOptions& options) {
  const CudaPlugin* real = real_plugin();
  if (real == nullptr) return not_found("liboctet_cuda.so is not beside the library that fails");
  OCTET_ASSIGN_OR_RETURN(auto ops, real->make_ops(options));
  const char* step = std::getenv("OCTET_FAIL_AT_STEP");
  return std::unique_ptr<Ops>(
      std::make_unique<FailingOps>(std::move(ops), step != nullptr ? std::atoi(step) : 20));
}

constexpr CudaPlugin kPlugin{kCudaAbi, devices, make_ops};

}  // namespace
}  // namespace octet

extern "C" __attribute__((visibility("default"))) const octet::CudaPlugin* octet_cuda_plugin() {
  return &octet::kPlugin;
}
