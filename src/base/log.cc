#include "base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>

namespace octet {

void init_logging(const std::string& level) {
  auto logger = spdlog::stderr_color_mt("octet");
  logger->set_pattern("%H:%M:%S %^%L%$ %v");
  spdlog::set_default_logger(logger);
  spdlog::set_level(spdlog::level::from_str(level));
}

}  // namespace octet
