// What liboctet_cuda.so exports: one C function that returns this table. `abi` comes first and keeps its
// place: it is read before anything else is believed.
#pragma once

#include <memory>
#include <vector>

#include "backend/cuda/cuda_backend.h"

namespace octet {

struct CudaPlugin {
  const char* abi;  // kCudaAbi of the build
  Result<std::vector<CudaDevice>> (*devices)();
  Result<std::unique_ptr<Ops>> (*make_ops)(const CudaOptions& options);
};

inline constexpr char kCudaPluginSymbol[] = "octet_cuda_plugin";
using CudaPluginEntry = const CudaPlugin* (*)();

}  // namespace octet
