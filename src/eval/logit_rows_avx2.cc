#include "eval/logit_kernels_impl.h"

namespace octet {

const LogitKernels kLogitKernelsAvx2 = kKernels;

}  // namespace octet
