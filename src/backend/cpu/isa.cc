#include "backend/cpu/isa.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace octet {
namespace {

#if defined(__x86_64__)

struct Leaf {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Leaf cpuid(unsigned leaf, unsigned subleaf) {
  Leaf l;
  if (!__get_cpuid_count(leaf, subleaf, &l.eax, &l.ebx, &l.ecx, &l.edx)) return {};
  return l;
}

bool has(unsigned word, std::initializer_list<int> bits) {
  for (int bit : bits) {
    if ((word >> bit & 1) == 0) return false;
  }
  return true;
}

// The register files that the operating system saves and restores (XCR0).
unsigned saved_state() {
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

bool supports(Isa isa) {
  if (isa == Isa::kGeneric) return true;
  const Leaf basic = cpuid(1, 0), extended = cpuid(7, 0), extended1 = cpuid(7, 1);
  const int fma = 12, osxsave = 27, avx = 28, f16c = 29;
  if (!has(basic.ecx, {fma, osxsave, avx, f16c})) return false;
  const unsigned saved = saved_state();
  const int xmm = 1, ymm = 2, opmask = 5, zmm_low = 6, zmm_high = 7;
  const int avx2 = 5, bmi2 = 8;
  if (!has(saved, {xmm, ymm}) || !has(extended.ebx, {avx2, bmi2})) return false;
  if (isa == Isa::kAvx2) return true;
  const int avx512f = 16, avx512dq = 17, avx512bw = 30, avx512vl = 31;
  const int avx512vbmi = 1, avx512vnni = 11, avx512bf16 = 5;
  return has(saved, {opmask, zmm_low, zmm_high}) &&
         has(extended.ebx, {avx512f, avx512dq, avx512bw, avx512vl}) &&
         has(extended.ecx, {avx512vbmi, avx512vnni}) && has(extended1.eax, {avx512bf16});
}

#else

bool supports(Isa isa) {
  return isa == Isa::kGeneric;
}

#endif

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kGeneric:
      return "generic";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
  }
  return "unknown";
}

std::vector<Isa> supported_isas() {
  std::vector<Isa> isas;
  for (Isa isa : {Isa::kGeneric, Isa::kAvx2, Isa::kAvx512}) {
    if (supports(isa)) isas.push_back(isa);
  }
  return isas;
}

Isa best_isa() {
  return supported_isas().back();
}

Result<Isa> isa_by_name(const std::string& name) {
  if (name == "auto") return best_isa();
  for (Isa isa : {Isa::kGeneric, Isa::kAvx2, Isa::kAvx512}) {
    if (name != isa_name(isa)) continue;
    if (!supports(isa)) {
      return unsupported("instruction set \"" + name + "\": this CPU lacks it; its best is \"" +
                         isa_name(best_isa()) + "\", which \"auto\" chooses");
    }
    return isa;
  }
  return invalid_argument("instruction set \"" + name +
                          "\" is unknown; there are auto, generic, avx2, avx512");
}

}  // namespace octet
