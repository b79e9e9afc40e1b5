#include "cli/profile_page.h"

#include <algorithm>
#include <functional>
#include <map>

#include <fmt/format.h>

namespace octet {
namespace {

using nlohmann::ordered_json;
using Steps = std::vector<const StepProfile*>;

Steps steps_of(const ProfileVariant& variant, const std::string& phase) {
  Steps steps;
  for (const StepProfile& s : variant.steps)
    if (s.phase == phase) steps.push_back(&s);
  return steps;
}

std::vector<std::string> part_list(const Steps& steps) {
  std::vector<std::string> names;
  for (const StepProfile* s : steps)
    for (const ProfilePart& p : s->parts)
      if (p.us > 0 && std::ranges::find(names, p.name) == names.end()) names.push_back(p.name);
  return names;
}

const ProfilePart* find(const StepProfile& step, const std::string& name) {
  const auto part = std::ranges::find_if(step.parts, [&](const auto& p) { return p.name == name; });
  return part == step.parts.end() ? nullptr : &*part;
}

enum class Unit { kShare, kTime };

// A bar a step, its parts one upon the other; bars in groups of equal `outer`.
ReportChart stacked(const std::string& caption, const Steps& steps,
                    const std::function<std::string(const StepProfile&)>& outer,
                    const std::function<std::string(const StepProfile&)>& inner, Unit unit = Unit::kShare) {
  // Distinct hues for linear layers, attention and the rest; more parts than a page has colours of its own.
  static constexpr std::pair<const char*, const char*> kColors[] = {
      {"linear qkv", "#0b5cad"},     {"linear o", "#2f7fd0"},      {"linear gate_up", "#5aa0e6"},
      {"linear down", "#8cc0f2"},    {"linear head", "#bcdcfa"},   {"attention", "#d9480f"},
      {"rope, KV write", "#f59f5b"}, {"norm", "#2b8a3e"},          {"activation", "#69b878"},
      {"quantize", "#a9dbb2"},       {"embed, gather", "#7048e8"}, {"sampling", "#b197fc"},
      {"batch", "#e0ccff"},          {"host", "#868e96"},          {"idle", "#868e96"}};
  ReportChart chart;
  chart.caption = caption;
  chart.height = 440;
  for (const std::string& name : part_list(steps)) {
    ordered_json groups = ordered_json::array(), bars = groups, values = groups, texts = groups;
    for (const StepProfile* s : steps) {
      const ProfilePart* part = find(*s, name);
      groups.push_back(outer(*s));
      bars.push_back(inner(*s));
      values.push_back(part == nullptr ? 0 : unit == Unit::kShare ? 100 * part->share : part->us / 1e3);
      texts.push_back(part == nullptr ? "" : fmt::format("{:.1f} us", part->us));
    }
    const auto color = std::ranges::find_if(kColors, [&](const auto& c) { return name == c.first; });
    chart.traces.push_back({{"type", "bar"},
                            {"name", name},
                            {"x", ordered_json::array({groups, bars})},
                            {"y", values},
                            {"hovertext", texts},
                            {"marker", {{"color", color == std::end(kColors) ? "#868e96" : color->second}}}});
  }
  chart.layout = {{"barmode", "stack"}, {"xaxis", {{"type", "multicategory"}}}};
  if (unit == Unit::kShare) {
    chart.layout["yaxis"] = {{"title", {{"text", "share of a step, %"}}}, {"range", {0, 100}}};
  } else {
    chart.layout["yaxis"] = {{"title", {{"text", "ms"}}}, {"rangemode", "tozero"}};
  }
  return chart;
}

ReportTable step_table(const std::string& caption, const std::vector<StepProfile>& steps) {
  ReportTable table;
  table.caption = caption;
  table.header = {"step", "part", "calls", "us", "share", "GB/s", "GFLOP/s", "of the ceiling"};
  for (const StepProfile& s : steps) {
    const std::string step = s.phase == "decode" ? fmt::format("decode {} x {}", s.batch, s.context)
                                                 : fmt::format("prefill {}", s.tokens);
    const auto rate = [](double amount, double us) {
      return amount > 0 && us > 0 ? fmt::format("{:.1f}", amount / us / 1e3) : "";
    };
    for (const ProfilePart& p : s.parts) {
      table.rows.push_back({step, p.name, p.calls > 0 ? std::to_string(p.calls) : "",
                            fmt::format("{:.1f}", p.us), fmt::format("{:.1f} %", 100 * p.share),
                            rate(p.bytes, p.us), rate(p.flop, p.us),
                            p.ceiling_share > 0 ? fmt::format("{:.0f} %", 100 * p.ceiling_share) : ""});
    }
    table.rows.push_back({step, "untraced step", "", fmt::format("{:.1f}", s.step_us), "", "", "", ""});
    table.rows.push_back({step, "sum of ops", "", fmt::format("{:.1f}", s.ops_us), "", "", "", ""});
    table.rows.push_back({step, "traced step", "", fmt::format("{:.1f}", s.traced_us), "", "", "", ""});
  }
  return table;
}

// The decode steps of the largest batch, all variants side by side.
ReportChart by_scheme(const ProfileReport& report) {
  int32_t batch = 0;
  for (const ProfileVariant& v : report.variants)
    for (const StepProfile& s : v.steps)
      if (s.phase == "decode") batch = std::max(batch, s.batch);
  Steps steps;
  std::map<const StepProfile*, std::string> names;
  for (const ProfileVariant& v : report.variants) {
    for (const StepProfile* s : steps_of(v, "decode")) {
      if (s->batch != batch) continue;
      steps.push_back(s);
      names[s] = v.runs_as + ", KV " + v.kv_runs_as;
    }
  }
  std::ranges::stable_sort(steps, {}, &StepProfile::context);
  return stacked(
      fmt::format("Decode step of {} sequences by scheme", batch), steps,
      [](const StepProfile& s) { return fmt::format("context {}", s.context); },
      [&](const StepProfile& s) { return names.at(&s); }, Unit::kTime);
}

}  // namespace

ReportPage profile_page(const ProfileReport& report, const std::string& command) {
  ReportPage page;
  page.title = "Where a step's time goes: " + report.model;
  page.command = command;
  const DeviceRates& c = report.ceilings.rates;
  page.paragraphs = {
      fmt::format("On {}. Ceilings: memory at {:.1f} GB/s, measured; products of 16 bit {:.2f}, int8 {:.2f}, "
                  "fp8 {:.2f} TFLOP/s, {}.",
                  report.device, c.memory_bytes_s / 1e9, c.half_flop_s / 1e12, c.int8_flop_s / 1e12,
                  c.fp8_flop_s / 1e12, report.ceilings.documented ? "documented for the device" : "measured"),
      std::string("Each op was timed by marks on the backend's stream. ") +
          (report.runs_ahead
               ? "Marks keep kernels apart that overlap in an untraced step: what the ops' sum is more "
                 "than that step is taken from each op alike; what it is less is idle time."
               : "\"host\" is the work between ops.")};
  const auto batch = [](const StepProfile& s) { return fmt::format("batch {}", s.batch); };
  const auto context = [](const StepProfile& s) { return fmt::format("context {}", s.context); };
  if (report.variants.size() > 1) page.charts.push_back(by_scheme(report));
  for (const ProfileVariant& v : report.variants) {
    const std::string name = v.runs_as + ", KV cache " + v.kv_runs_as;
    Steps decode = steps_of(v, "decode");
    const Steps prefill = steps_of(v, "prefill");
    if (!decode.empty()) {
      page.charts.push_back(stacked("Decode step by batch size: " + name, decode, context, batch));
      Steps by_batch = decode;
      std::ranges::stable_sort(by_batch, {}, &StepProfile::batch);
      page.charts.push_back(stacked("Decode step by context length: " + name, by_batch, batch, context));
    }
    if (!prefill.empty()) {
      page.charts.push_back(stacked(
          "Prefill step: " + name, prefill, [](const StepProfile&) { return "one prompt"; },
          [](const StepProfile& s) { return fmt::format("{} tokens", s.tokens); }));
    }
    page.tables.push_back(step_table("Steps (decode: sequences x context): " + name, v.steps));
  }
  return page;
}

}  // namespace octet
