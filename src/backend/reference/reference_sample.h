// The sample op of the reference backend: every filter by a full sort, sums in double.
#pragma once

#include "backend/sampling.h"
#include "tensor/view.h"

namespace octet::reference {

void sample(const View& logits, const SamplingBatch& sampling, SampledToken* out);

}  // namespace octet::reference
