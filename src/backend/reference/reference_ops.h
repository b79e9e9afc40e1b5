// The specification of every op in backend/ops.h: one thread, naive loops over host memory, sums in double.
// Slow on purpose; tests and the comparing decorator hold the other backends against it.
#pragma once

#include <memory>

#include "backend/ops.h"

namespace octet {

std::unique_ptr<Ops> make_reference_ops();

}  // namespace octet
