#include "backend/cpu/row_kernels_impl.h"
#include "backend/cpu/vec_avx512.h"

namespace octet::cpu {

const RowKernels kRowKernelsAvx512 = RowKernelsImpl<VecAvx512>::table();

}  // namespace octet::cpu
