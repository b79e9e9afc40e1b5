#include "report/plotly.h"

// The assembler includes the file as it is: no megabytes of C++ literals to compile.
asm(".section .rodata\n"
    ".hidden octet_plotly_js_begin\n"
    ".global octet_plotly_js_begin\n"
    "octet_plotly_js_begin:\n"
    ".incbin \"" OCTET_PLOTLY_JS
    "\"\n"
    ".hidden octet_plotly_js_end\n"
    ".global octet_plotly_js_end\n"
    "octet_plotly_js_end:\n"
    ".byte 0\n"
    ".text\n");

extern "C" const char octet_plotly_js_begin[];
extern "C" const char octet_plotly_js_end[];

namespace octet {

std::string_view plotly_js() {
  return {octet_plotly_js_begin, static_cast<size_t>(octet_plotly_js_end - octet_plotly_js_begin)};
}

}  // namespace octet
