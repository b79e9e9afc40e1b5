// What `octet report` reads: whatever bytes come, rows that pictures can be made of, or one line of error
// that names the file. octet: link octet_report
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "report/results.h"
#include "report/study.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  octet::Results results;
  const auto status = octet::read_result("x.json", text, results);
  if (!status.ok()) {
    const std::string& message = status.message();
    if (message.find("x.json") != 0 || message.find('\n') != std::string::npos) std::abort();
    return 0;
  }
  for (const auto& row : results.speeds) {
    if (row.input_len < 0 || row.output_len < 0 || row.max_batch < 0) std::abort();
    if (row.output_tok_s.has_value() && !std::isfinite(*row.output_tok_s)) std::abort();
  }
  for (const auto& step : results.steps) {
    if (step.batch < 0 || step.context < 0 || step.tokens < 0 || !std::isfinite(step.step_us)) std::abort();
  }
  const auto shape = [](const std::string&) { return octet::ModelShape{1e9, 1e8, 65536, 131072}; };
  const octet::Study study = octet::make_study(results, shape);
  if (octet::render_html(octet::study_page(study, results, "octet report")).empty()) std::abort();
  return 0;
}
