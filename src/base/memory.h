// How much memory a process can still take without swapping or being killed.
#pragma once

#include <cstdint>

namespace octet {

// Bytes: the kernel's estimate (MemAvailable), or what the control group leaves where that is less; 0:
// unknown.
int64_t available_memory();

}  // namespace octet
