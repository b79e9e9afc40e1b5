// Clusters are not emulated: blocks run one after another.
#pragma once

#include "backend/cuda/device/reduce.cuh"
#include "backend/cuda/emulation/emulator.h"

namespace octet::cuda {

inline float cluster_max(float, float*) {
  emulation::fail("a cluster of blocks");
}
inline void cluster_wait() {}

}  // namespace octet::cuda
