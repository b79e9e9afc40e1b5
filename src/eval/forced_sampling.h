// The log-probability of a given token, asked of Ops::sample: greedy sampling is made to take that token, and
// reports what the raw logits say of it. Works on every device without a copy of the logits.
#pragma once

#include "backend/sampling.h"
#include "base/status.h"

namespace octet {

void add_forced_row(SamplingBatch& sampling, int32_t token);
// kInternal where the row's logits are not finite.
Status check_forced(const SampledToken& sampled);

}  // namespace octet
