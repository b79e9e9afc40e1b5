#include <cstdio>

#include <nlohmann/json.hpp>

#include "bench/kernels.h"

namespace octet {
namespace {

std::string number(double value, const char* format) {
  char text[32];
  std::snprintf(text, sizeof(text), format, value);
  return value > 0 ? text : "-";
}

}  // namespace

std::string kernel_table(const KernelReport& report) {
  std::string table = report.model + ", " + report.scheme + ", KV cache " + report.kv_dtype + ", on " +
                      report.device + "; memory at " +
                      number(report.ceilings.rates.memory_bytes_s / 1e9, "%.0f") + " GB/s, products at the " +
                      (report.ceilings.documented ? "documented" : "measured") + " rates\n";
  char line[192];
  std::snprintf(line, sizeof(line), "%-26s %-14s %6s %11s %9s %10s %7s  %s", "op", "shape", "rows", "us",
                "GB/s", "GFLOP/s", "share", "library, us (stored, not measured now)");
  table += line;
  for (const KernelRow& r : report.rows) {
    std::snprintf(line, sizeof(line), "\n%-26s %-14s %6lld %11.2f %9.1f %10s %7s  %s", r.op.c_str(),
                  r.shape.c_str(), static_cast<long long>(r.rows), r.us, r.bytes / r.us / 1e3,
                  number(r.flop / r.us / 1e3, "%.0f").c_str(), number(r.share * 100, "%.0f %%").c_str(),
                  r.library_us > 0 ? (number(r.library_us, "%.1f") + " " + r.library).c_str() : "-");
    table += line;
  }
  return table;
}

nlohmann::ordered_json to_json(const KernelReport& report) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const KernelRow& r : report.rows) {
    nlohmann::ordered_json row = {{"op", r.op}, {"shape", r.shape}, {"rows", r.rows},
                                  {"us", r.us}, {"bytes", r.bytes}, {"flop", r.flop}};
    if (r.share > 0) row["share"] = r.share;
    if (r.library_us > 0) row.update({{"library_us", r.library_us}, {"library", r.library}});
    rows.push_back(std::move(row));
  }
  return {{"model", report.model},
          {"scheme", report.scheme},
          {"kv_dtype", report.kv_dtype},
          {"device", report.device},
          {"ceilings", to_json(report.ceilings)},
          {"rows", rows}};
}

}  // namespace octet
