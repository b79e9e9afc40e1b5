// What liboctet_cuda.so exports: one C function that returns this table. `abi` comes first and keeps its
// place: it is read before anything else is believed.
#pragma once

#include <vector>

#include "backend/cuda/cuda_backend.h"

namespace octet {

struct CudaPlugin {
  const char* abi;  // kCudaAbi of the build
  Result<std::vector<CudaDevice>> (*devices)();
};

inline constexpr char kCudaPluginSymbol[] = "octet_cuda_plugin";
using CudaPluginEntry = const CudaPlugin* (*)();

}  // namespace octet
