// What a profile is printed as: tables, JSON, and events that trace viewers draw.
#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "bench/profile.h"

namespace octet {
namespace {

using nlohmann::ordered_json;

std::string number(double value, const char* format) {
  return value > 0 ? fmt::format(fmt::runtime(format), value) : "-";
}

std::string step_name(const StepProfile& s) {
  return s.phase == "decode" ? fmt::format("decode, {} sequences of {} tokens", s.batch, s.context)
                             : fmt::format("prefill of {} tokens", s.tokens);
}

double overhead(const StepProfile& s) {
  return s.step_us > 0 ? s.traced_us / s.step_us - 1 : 0;
}

// Ops have medians of their own; where whole steps take much longer, something takes the processor away.
std::string held_up(const StepProfile& s) {
  const double own = s.ops_us + s.rest_us;
  return s.traced_us > 1.05 * own
             ? fmt::format("; other programs hold the step up by {:.1f} us", s.traced_us - own)
             : "";
}

std::string step_table(const StepProfile& s, bool runs_ahead) {
  std::string text =
      fmt::format("\n{}: {:.1f} us a step untraced, {:.1f} us traced ({:+.1f} %{})\n", step_name(s),
                  s.step_us, s.traced_us, 100 * overhead(s), overhead(s) > 0.02 ? ", more than 2 %" : "");
  text += fmt::format("  {:<16} {:>5} {:>11} {:>7} {:>9} {:>10} {:>8}\n", "part", "calls", "us", "share",
                      "GB/s", "GFLOP/s", "ceiling");
  double sum = 0;
  for (const ProfilePart& p : s.parts) {
    if (p.calls > 0) sum += p.us;
    text += fmt::format("  {:<16} {:>5} {:>11.1f} {:>5.1f} % {:>9} {:>10} {:>8}\n", p.name,
                        p.calls > 0 ? std::to_string(p.calls) : "-", p.us, 100 * p.share,
                        number(p.us > 0 ? p.bytes / p.us / 1e3 : 0, "{:.1f}"),
                        number(p.us > 0 ? p.flop / p.us / 1e3 : 0, "{:.1f}"),
                        number(100 * p.ceiling_share, "{:.0f} %"));
  }
  text += fmt::format("  {:<16} {:>5} {:>11.1f}", "sum of ops", "", sum);
  if (!runs_ahead)
    text += fmt::format("  and {:.1f} us of the host between them{}", s.rest_us, held_up(s));
  else if (s.overlap_us > 0)
    text += fmt::format("  without the {:.2f} us that tracing adds to each: {:.1f} us in all", s.added_us,
                        s.overlap_us);
  else
    text += fmt::format("  {:.1f} us less than the step: the device is idle", s.rest_us);
  if (runs_ahead) text += fmt::format("; the host asks for a step in {:.1f} us", s.host_us);
  return text + "\n";
}

// Shares of all steps of a phase side by side.
std::string overview(const ProfileVariant& variant, const std::string& phase) {
  std::vector<const StepProfile*> steps;
  for (const StepProfile& s : variant.steps)
    if (s.phase == phase) steps.push_back(&s);
  if (steps.empty()) return "";
  std::string text = fmt::format("\nshare of a {} step, %\n  {:<16}", phase, "");
  for (const StepProfile* s : steps)
    text += fmt::format(" {:>10}", phase == "decode" ? fmt::format("{} x {}", s->batch, s->context)
                                                     : std::to_string(s->tokens));
  std::vector<std::string> names;
  for (const StepProfile* s : steps)
    for (const ProfilePart& p : s->parts)
      if (std::ranges::find(names, p.name) == names.end()) names.push_back(p.name);
  for (const std::string& name : names) {
    text += fmt::format("\n  {:<16}", name);
    for (const StepProfile* s : steps) {
      const auto part = std::ranges::find_if(s->parts, [&](const auto& p) { return p.name == name; });
      text +=
          part == s->parts.end() ? fmt::format(" {:>10}", "-") : fmt::format(" {:>10.1f}", 100 * part->share);
    }
  }
  return text + "\n";
}

ordered_json event(const char* phase, const std::string& name, size_t process, int track) {
  return {{"ph", phase}, {"name", name}, {"pid", process}, {"tid", track}};
}

ordered_json name_event(const char* what, const std::string& name, size_t process, int track) {
  ordered_json e = event("M", what, process, track);
  e["args"] = {{"name", name}};
  return e;
}

ordered_json span(const NamedRecord& r, size_t process, int track, double start, double end) {
  ordered_json e = event("X", r.part, process, track);
  e["cat"] = op_name(r.op.kind);
  e["ts"] = 1e6 * start;
  e["dur"] = 1e6 * std::max(0.0, end - start);
  return e;
}

constexpr int kHostTrack = 1, kDeviceTrack = 2;

void add_step_events(const StepProfile& step, size_t process, ordered_json& events) {
  for (const NamedRecord& r : step.records) {
    ordered_json device = span(r, process, kDeviceTrack, r.op.start, r.op.end);
    device["args"] = {{"rows", r.op.rows}, {"bytes", r.op.cost.bytes}, {"flop", r.op.cost.flop}};
    if (r.op.n > 0) device["args"].update({{"n", r.op.n}, {"k", r.op.k}});
    events.push_back(std::move(device));
    events.push_back(span(r, process, kHostTrack, r.op.host_start, r.op.host_end));
  }
}

}  // namespace

std::string profile_table(const ProfileReport& report) {
  const DeviceRates& c = report.ceilings.rates;
  std::string text = fmt::format(
      "{} on {}\nceilings: memory at {:.1f} GB/s (measured); products of 16 bit {:.2f}, int8 {:.2f}, fp8 "
      "{:.2f} "
      "TFLOP/s ({}); a mark takes {:.2f} us\n",
      report.model, report.device, c.memory_bytes_s / 1e9, c.half_flop_s / 1e12, c.int8_flop_s / 1e12,
      c.fp8_flop_s / 1e12, report.ceilings.documented ? "documented" : "measured", report.mark_us);
  for (const ProfileVariant& v : report.variants) {
    text += fmt::format("\n=== {}, KV cache {}\n", v.runs_as, v.kv_runs_as);
    for (const StepProfile& s : v.steps) text += step_table(s, report.runs_ahead);
    if (!v.left_out.empty()) text += "\n";
    for (const std::string& line : v.left_out) text += "left out: " + line + "\n";
    text += overview(v, "decode") + overview(v, "prefill");
  }
  text.pop_back();
  return text;
}

ordered_json to_json(const ProfileReport& report) {
  ordered_json json = {{"model", report.model},
                       {"backend", report.backend},
                       {"device", report.device},
                       {"ceilings", to_json(report.ceilings)},
                       {"mark_us", report.mark_us},
                       {"steps", ordered_json::array()},
                       {"left_out", ordered_json::array()}};
  for (const ProfileVariant& v : report.variants) {
    for (const std::string& line : v.left_out)
      json["left_out"].push_back(fmt::format("{}, KV cache {}: {}", v.runs_as, v.kv_runs_as, line));
    for (const StepProfile& s : v.steps) {
      ordered_json parts = ordered_json::array();
      for (const ProfilePart& p : s.parts) {
        ordered_json part = {
            {"part", p.name},   {"calls", p.calls}, {"us", p.us},    {"traced_us", p.traced_us},
            {"share", p.share}, {"bytes", p.bytes}, {"flop", p.flop}};
        if (p.ceiling_share > 0) part["ceiling_share"] = p.ceiling_share;
        parts.push_back(std::move(part));
      }
      json["steps"].push_back({{"asked_scheme", v.scheme},
                               {"asked_kv_dtype", v.kv_dtype},
                               {"scheme", v.runs_as},
                               {"kv_dtype", v.kv_runs_as},
                               {"phase", s.phase},
                               {"batch", s.batch},
                               {"context", s.context},
                               {"tokens", s.tokens},
                               {"step_us", s.step_us},
                               {"host_us", s.host_us},
                               {"traced_us", s.traced_us},
                               {"tracing_overhead", overhead(s)},
                               {"ops_us", s.ops_us},
                               {"rest_us", s.rest_us},
                               {"overlap_us", s.overlap_us},
                               {"added_us", s.added_us},
                               {"parts", std::move(parts)}});
    }
  }
  return json;
}

ordered_json to_trace_events(const ProfileReport& report) {
  ordered_json events = ordered_json::array();
  size_t process = 0;
  for (const ProfileVariant& v : report.variants) {
    for (const StepProfile& s : v.steps) {
      ++process;
      events.push_back(name_event("process_name",
                                  fmt::format("{}, KV cache {}: {}", v.runs_as, v.kv_runs_as, step_name(s)),
                                  process, 0));
      events.push_back(name_event("thread_name", "host", process, kHostTrack));
      events.push_back(name_event("thread_name", "device: " + report.device, process, kDeviceTrack));
      add_step_events(s, process, events);
    }
  }
  return {{"displayTimeUnit", "ns"},
          {"otherData", {{"model", report.model}, {"device", report.device}}},
          {"traceEvents", std::move(events)}};
}

}  // namespace octet
