// The instruction sets that the CPU backend has kernels for, and which of them this CPU can run. Chosen once
// at start, or forced by name so that every path can be tested on one machine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"

namespace octet {

enum class Isa : uint8_t {
  kGeneric,  // portable C++
  kAvx2,     // AVX2, FMA, F16C (Haswell, Zen)
  kAvx512,   // AVX-512 F, BW, VL, DQ, VNNI, VBMI, BF16 (Sapphire Rapids, Zen 4)
};

const char* isa_name(Isa isa);

// The instruction sets of this CPU whose registers the operating system saves, slowest first.
std::vector<Isa> supported_isas();
Isa best_isa();

// "auto" (the best), "generic", "avx2" or "avx512".
// Errors: kInvalidArgument for another name, kUnsupported where this CPU lacks the instructions.
Result<Isa> isa_by_name(const std::string& name);

}  // namespace octet
