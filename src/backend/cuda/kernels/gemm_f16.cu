#include "backend/cuda/kernels/gemm_entries.cuh"

namespace octet::cuda {

template const void* stream_entry<F16>(const GemmPlan& plan);
template const void* tile_entry<F16>(const GemmPlan& plan, bool gated);

}  // namespace octet::cuda
