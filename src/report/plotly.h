// plotly.js, the library that draws a report's charts, as text. It is built into the program, so that a
// report is one file that loads nothing from elsewhere.
#pragma once

#include <string_view>

namespace octet {

std::string_view plotly_js();

}  // namespace octet
