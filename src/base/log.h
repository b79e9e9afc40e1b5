// Logging goes to stderr, so that stdout carries results alone.
#pragma once

#include <string>

#include "base/status.h"

namespace octet {

// Call once from main, before any thread starts. level: "debug", "info", "warning", "error", "off".
Status init_logging(const std::string& level);

void log_debug(const std::string& message);
void log_info(const std::string& message);
void log_warning(const std::string& message);
void log_error(const std::string& message);

}  // namespace octet
