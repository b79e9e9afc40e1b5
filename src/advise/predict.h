// A workload served in predicted time: the engine's own scheduler and pages plan every step, and the clock
// goes on by what the step model says it takes.
#pragma once

#include "advise/step_model.h"
#include "bench/offline.h"

namespace octet {

struct ServingLimits {
  int32_t n_pages = 0, page_size = 0;
  int32_t max_batch = 0, max_step_tokens = 0;
  bool runs_ahead = false;  // a step is planned while one runs, as the engine does on such a backend
};

// What bench_throughput would measure. Errors: kInvalidArgument where a request is longer than the cache.
Result<ThroughputResult> predict_throughput(const StepModel& step, const ServingLimits& limits,
                                            const ThroughputOptions& workload);

}  // namespace octet
