#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "cli/advise.h"

namespace octet {
namespace {

using nlohmann::ordered_json;

double mebibytes(int64_t bytes) {
  return static_cast<double>(bytes) / (1 << 20);
}

std::string workload_text(const ServedWorkload& w) {
  const auto& r = w.requests;
  const std::string arrival = r.rate > 0 ? fmt::format("{:g} a second", r.rate) : "all at once";
  return fmt::format("{} requests of {}/{} tokens, {}, batches of {} at most", r.requests, r.input_len,
                     r.output_len, arrival, w.max_batch);
}

std::string quality_cells(const Variant& v) {
  if (!v.quality) return fmt::format("{:>8} {:>8} {:>8}", "-", "-", "-");
  return fmt::format("{:>8.4f} {:>+7.2f}% {:>7.2f}%", v.quality->kl, 100 * v.quality->perplexity_over,
                     100 * v.quality->top1);
}

// How well the figures that a user would see agree.
struct Agreement {
  const char* name;
  double predicted, measured;
  double off() const { return predicted / measured - 1; }
};
std::vector<Agreement> agreements(const ThroughputResult& p, const ThroughputResult& m, bool open) {
  std::vector<Agreement> list = {{"output tokens/s", p.output_tok_s, m.output_tok_s},
                                 {"TTFT ms (mean)", p.ttft_ms.mean, m.ttft_ms.mean},
                                 {"TPOT ms (mean)", p.tpot_ms.mean, m.tpot_ms.mean}};
  if (!open) list.push_back({"seconds", p.seconds, m.seconds});
  std::erase_if(list, [](const auto& a) { return a.measured <= 0; });
  return list;
}

std::string table(const Advice& a) {
  std::string text = fmt::format("{:<28} {:>8} {:>8} {:>8} {:>10} {:>10} {:>10} {:>10}\n", "scheme, KV cache",
                                 "kl", "ppl", "top1", "out tok/s", "TTFT p90", "TPOT mean", "MiB");
  for (const Outcome& o : a.ranked) {
    const Variant& v = a.variants[o.variant];
    text += fmt::format("{:<28} {}", v.name(), quality_cells(v));
    if (o.served.seconds > 0) {
      text += fmt::format(" {:>10.1f} {:>7.1f} ms {:>7.2f} ms {:>10.1f}", o.served.output_tok_s,
                          o.served.ttft_ms.p90, o.served.tpot_ms.mean, mebibytes(o.memory));
    }
    if (!o.why_not.empty()) text += "  no: " + o.why_not;
    text += "\n";
  }
  return text;
}

// What the recommended variant has over another.
std::string because(const Advice& a) {
  const Outcome& best = a.best();
  const bool open = a.workload.requests.rate > 0;
  std::string text = fmt::format("use {}: ", a.recommended().name());
  text += open ? fmt::format("a request takes {:.0f} ms (mean), the least", best.cost)
               : fmt::format("{:.1f} output tokens/s, the most", best.served.output_tok_s);
  text += a.requirements.bounds.empty() ? " of what was measured (quality was not asked for)\n"
                                        : fmt::format(
                                              " of what meets the bounds ({:.0f} % of the tightest "
                                              "is used)\n",
                                              100 * best.quality_used);
  if (a.ranked.size() > 1 && a.ranked[1].why_not.empty()) {
    const Outcome& second = a.ranked[1];
    text += fmt::format("runner-up {}: {:.1f} % slower, {:.1f} MiB {}\n", a.variants[second.variant].name(),
                        100 * (second.cost / best.cost - 1), mebibytes(std::abs(second.memory - best.memory)),
                        second.memory > best.memory ? "more" : "less");
  }
  return text;
}

std::string changes(const Advice& a) {
  std::string text;
  for (const Change& change : a.what_if.changes) {
    text += fmt::format("with {}: {}", change.when, change.what);
    if (change.gain > 0) text += fmt::format(", {:.1f} % faster there", 100 * change.gain);
    text += "\n";
  }
  if (!a.what_if.looked_at.empty()) {
    text += fmt::format("the same with {}\n", fmt::join(a.what_if.looked_at, "; "));
  }
  return text;
}

constexpr double kMoved = 0.10;  // of a step's time: more than predictions may be off

// Empty where the machine is as fast as it was when steps were timed.
std::string moved(const Advice& a) {
  if (std::abs(a.slower_now - 1) <= kMoved) return "";
  return fmt::format(
      "the machine has changed: steps of {} take {:.0f} % {} now than when the schemes were timed; what else "
      "runs "
      "here? ask again when it is quiet\n",
      a.recommended().name(), 100 * std::abs(a.slower_now - 1), a.slower_now > 1 ? "longer" : "less");
}

std::string check_text(const Advice& a) {
  if (!a.measured) {
    return moved(a) + fmt::format(
                          "not checked: the workload would take {:.0f} s; --check runs it, or\n  octet bench "
                          "throughput MODEL "
                          "--input-len {} --output-len {} --requests {} --rate {:g} --max-batch {} "
                          "--max-step-tokens {}\n",
                          a.best().served.seconds, a.workload.requests.input_len,
                          a.workload.requests.output_len, a.workload.requests.requests,
                          a.workload.requests.rate, a.workload.max_batch, a.recommended().max_step_tokens);
  }
  std::string text = fmt::format("{:<18} {:>11} {:>11} {:>8}\n", "checked", "predicted", "measured", "off");
  for (const auto& x : agreements(a.best().served, *a.measured, a.workload.requests.rate > 0)) {
    text += fmt::format("{:<18} {:>11.2f} {:>11.2f} {:>+7.1f}%\n", x.name, x.predicted, x.measured,
                        100 * x.off());
  }
  return text + moved(a);
}

ordered_json variant_json(const Advice& a, const Outcome& o) {
  const Variant& v = a.variants[o.variant];
  ordered_json points = ordered_json::array();
  for (const StepPoint& p : v.points) {
    points.push_back({{"tokens", p.shape.tokens},
                      {"rows", p.shape.rows},
                      {"decode_keys", p.shape.decode_keys},
                      {"prefill_keys", p.shape.prefill_keys},
                      {"ms", 1e3 * p.seconds},
                      {"model_ms", 1e3 * v.step.seconds(p.shape)}});
  }
  ordered_json json = {{"scheme", v.scheme}, {"kv_dtype", v.kv}};
  ordered_json measured = {{"weight_bytes", v.memory.weights}, {"steps", points}};
  if (v.quality) {
    measured["kl"] = v.quality->kl;
    measured["ppl_over"] = v.quality->perplexity_over;
    measured["top1"] = v.quality->top1;
  }
  json["measured"] = measured;
  json["predicted"] = {{"memory_bytes", o.memory}, {"step_error", v.step.mean_error()}};
  if (o.served.seconds > 0) json["predicted"]["served"] = to_json(o.served);
  json["quality_used"] = o.quality_used;
  json["meets"] = o.why_not.empty();
  if (!o.why_not.empty()) json["why_not"] = o.why_not;
  return json;
}

}  // namespace

std::string to_text(const Advice& a) {
  std::string text = fmt::format("{} on {}\n{}\n", a.model, a.device, workload_text(a.workload));
  if (!a.variants.empty()) {
    text += fmt::format("steps of {} tokens at most, as octet serve takes them\n",
                        a.variants.front().max_step_tokens);
  }
  text +=
      a.quality_text.empty()
          ? "steps measured; speed and memory predicted from them\n\n"
          : fmt::format("quality measured on {}; steps measured; speed and memory predicted from them\n\n",
                        a.quality_text);
  text += table(a);
  for (const auto& line : a.left_out) text += line + "\n";
  if (!a.by_layer.empty()) text += a.by_layer + "\n";
  if (!a.found()) return text;
  text += "\n" + because(a) + "\n" + changes(a) + "\n" + check_text(a);
  text.pop_back();
  return text;
}

ordered_json to_json(const Advice& a) {
  const auto& r = a.workload.requests;
  ordered_json json = {{"octet_advice", 1}, {"model", a.model}, {"device", a.device}};
  json["workload"] = {{"input_len", r.input_len},
                      {"output_len", r.output_len},
                      {"requests", r.requests},
                      {"rate", r.rate},
                      {"max_batch", a.workload.max_batch}};
  ordered_json bounds = ordered_json::array();
  for (const auto& bound : a.requirements.bounds) bounds.push_back(bound.text);
  json["bounds"] = {
      {"quality", bounds}, {"memory_bytes", a.requirements.memory}, {"ttft_p90_ms", a.requirements.ttft_ms}};
  if (!a.variants.empty()) json["max_step_tokens"] = a.variants.front().max_step_tokens;
  json["quality_text"] = a.quality_text;
  json["variants"] = ordered_json::array();
  for (const Outcome& o : a.ranked) json["variants"].push_back(variant_json(a, o));
  json["left_out"] = a.left_out;
  if (!a.by_layer.empty()) json["by_layer"] = a.by_layer;
  if (!a.found()) return json;
  json["recommended"] = {{"scheme", a.recommended().scheme}, {"kv_dtype", a.recommended().kv}};
  json["changes"] = ordered_json::array();
  for (const Change& c : a.what_if.changes) {
    json["changes"].push_back({{"when", c.when}, {"what", c.what}, {"gain", c.gain}});
  }
  json["unchanged"] = a.what_if.looked_at;
  json["slower_now"] = a.slower_now;
  if (a.measured) {
    json["check"] = {{"measured", to_json(*a.measured)}};
    for (const auto& x : agreements(a.best().served, *a.measured, r.rate > 0)) {
      json["check"]["off"][x.name] = x.off();
    }
  }
  return json;
}

Status nothing_found(const Advice& a) {
  const auto distance = [&](const Outcome& o) {
    double most = o.quality_used;
    if (a.requirements.memory > 0) {
      most = std::max(most, static_cast<double>(o.memory) / static_cast<double>(a.requirements.memory));
    }
    if (a.requirements.ttft_ms > 0) most = std::max(most, o.served.ttft_ms.p90 / a.requirements.ttft_ms);
    return most;
  };
  const auto closest = std::min_element(a.ranked.begin(), a.ranked.end(), [&](const auto& x, const auto& y) {
    return distance(x) < distance(y);
  });
  return not_found("no scheme meets the bounds; " + a.variants[closest->variant].name() +
                   " comes closest: " + closest->why_not);
}

}  // namespace octet
