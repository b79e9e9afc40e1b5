#include "base/log.h"

// The library is compiled into this one file: the binary needs no shared object of it.
#define SPDLOG_HEADER_ONLY
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace octet {

Status init_logging(const std::string& level) {
  const auto parsed = spdlog::level::from_str(level);
  if (parsed == spdlog::level::off && level != "off") {
    return invalid_argument("unknown log level '" + level + "'; there are debug, info, warning, error, off");
  }
  auto logger = spdlog::stderr_color_mt("octet");
  logger->set_pattern("%H:%M:%S %^%L%$ %v");
  spdlog::set_default_logger(logger);
  spdlog::set_level(parsed);
  return {};
}

void log_debug(const std::string& message) {
  spdlog::debug("{}", message);
}
void log_info(const std::string& message) {
  spdlog::info("{}", message);
}
void log_warning(const std::string& message) {
  spdlog::warn("{}", message);
}
void log_error(const std::string& message) {
  spdlog::error("{}", message);
}

}  // namespace octet
