// What of a file the operating system holds in memory, and making it forget.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace octet {

// Asks the kernel to drop the files' pages; pages that somebody has mapped or that are not written yet stay.
// Errors: kNotFound.
Status drop_from_page_cache(const std::vector<std::string>& files);

// The share of the files' pages that is in memory, 0 to 1. Errors: kNotFound, kInternal where the system does
// not tell.
Result<double> page_cache_share(const std::vector<std::string>& files);

}  // namespace octet
