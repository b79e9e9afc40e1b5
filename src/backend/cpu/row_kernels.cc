#include "backend/cpu/row_kernels.h"

#include "backend/cpu/row_kernels_impl.h"

namespace octet::cpu {

const RowKernels kRowKernelsGeneric = RowKernelsImpl<VecGeneric>::table();

const RowKernels& row_kernels(Isa isa) {
  switch (isa) {
    case Isa::kAvx512:
      return kRowKernelsAvx512;
    case Isa::kAvx2:
      return kRowKernelsAvx2;
    case Isa::kGeneric:
      break;
  }
  return kRowKernelsGeneric;
}

}  // namespace octet::cpu
