// The CPU backend: threads, and the instruction set chosen once when it is made. Rows of a step are
// independent of each other in every op and every scheme: their bits do not depend on the batch, nor on the
// number of threads.
#pragma once

#include <memory>
#include <string>

#include "backend/ops.h"

namespace octet {

struct CpuOptions {
  int n_threads = 0;         // 0: all the process may run on
  std::string isa = "auto";  // auto, generic, avx2, avx512
};

// Errors: kInvalidArgument for a number of threads below 0 or above 1,024 or an unknown instruction set,
// kUnsupported for one that this processor lacks.
Result<std::unique_ptr<Ops>> make_cpu_ops(const CpuOptions& options);

}  // namespace octet
