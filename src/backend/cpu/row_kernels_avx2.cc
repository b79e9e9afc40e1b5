#include "backend/cpu/row_kernels_impl.h"
#include "backend/cpu/vec_avx2.h"

namespace octet::cpu {

const RowKernels kRowKernelsAvx2 = RowKernelsImpl<VecAvx2>::table();

}  // namespace octet::cpu
