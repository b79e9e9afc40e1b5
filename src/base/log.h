// Logging goes to stderr, so that stdout carries results alone. One place to set the level; the library is
// spdlog.
#pragma once

#include <string>

#include <spdlog/spdlog.h>

namespace octet {

// Call once from main. level: "debug", "info", "warning", "error".
void init_logging(const std::string& level);

}  // namespace octet
