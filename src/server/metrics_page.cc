#include "server/metrics_page.h"

#include <fmt/format.h>

#include "server/json_text.h"

namespace octet {
namespace {

std::string label_value(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out;
}

class MetricsText {
 public:
  explicit MetricsText(const std::string& model) : model_("model_name=\"" + label_value(model) + "\"") {}

  void gauge(const char* name, const char* help, double value) {
    head(name, "gauge", help);
    line(name, "", value);
  }
  void counter(const char* name, const char* help, double value) {
    head(name, "counter", help);
    line(name, "", value);
  }
  void histogram(const char* name, const char* help, const Histogram& h) {
    head(name, "histogram", help);
    const std::string bucket = std::string(name) + "_bucket";
    uint64_t sum = 0;
    for (size_t i = 0; i < h.bounds.size(); ++i) {
      sum += h.counts[i];
      line(bucket, fmt::format(",le=\"{}\"", h.bounds[i]), static_cast<double>(sum));
    }
    line(bucket, ",le=\"+Inf\"", static_cast<double>(h.count));
    line(std::string(name) + "_sum", "", h.sum);
    line(std::string(name) + "_count", "", static_cast<double>(h.count));
  }
  void head(const char* name, const char* type, const char* help) {
    text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
  }
  // `labels` come after the model's: `,le="1"`.
  void line(const std::string& name, const std::string& labels, double value) {
    text_ += fmt::format("{}{{{}{}}} {}\n", name, model_, labels, value);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string model_, text_;
};

void write_engine(MetricsText& out, const EngineMetrics& m) {
  out.gauge("vllm:num_requests_running", "Sequences in the batch.", static_cast<double>(m.running));
  out.gauge("vllm:num_requests_waiting", "Sequences waiting for a place.", static_cast<double>(m.waiting));
  out.gauge("vllm:num_requests_swapped", "Preempted sequences waiting.", static_cast<double>(m.swapped));
  out.gauge("vllm:kv_cache_usage_perc", "Share of the KV cache in use, 0 to 1.", m.kv_usage);
  out.gauge("vllm:gpu_cache_usage_perc", "The older name of vllm:kv_cache_usage_perc.", m.kv_usage);
  out.counter("vllm:prefix_cache_queries_total", "Prompt tokens looked up in the prefix cache.",
              static_cast<double>(m.prefix_queries));
  out.counter("vllm:prefix_cache_hits_total", "Prompt tokens found there.",
              static_cast<double>(m.prefix_hits));
  out.counter("vllm:num_preemptions_total", "Sequences taken out of the batch for want of KV pages.",
              static_cast<double>(m.preemptions));
  out.counter("vllm:prompt_tokens_total", "Prompt tokens computed.", static_cast<double>(m.prompt_tokens));
  out.counter("vllm:generation_tokens_total", "Tokens generated.", static_cast<double>(m.generated_tokens));
  out.head("vllm:request_success_total", "counter", "Finished sequences by reason.");
  const auto finished = [&](const char* reason, uint64_t n) {
    out.line("vllm:request_success_total", fmt::format(",finished_reason=\"{}\"", reason),
             static_cast<double>(n));
  };
  finished("stop", m.finished_stop);
  finished("length", m.finished_length);
  finished("abort", m.finished_cancelled);
  finished("error", m.finished_error);
  out.histogram("vllm:time_to_first_token_seconds", "From arrival to the first token.", m.ttft);
  out.histogram("vllm:inter_token_latency_seconds", "Between two tokens of a sequence.", m.inter_token);
  out.histogram("vllm:time_per_output_token_seconds", "The older name of vllm:inter_token_latency_seconds.",
                m.inter_token);
  out.histogram("vllm:e2e_request_latency_seconds", "From arrival to the last token.", m.e2e);
  out.histogram("vllm:request_queue_time_seconds", "Waiting for a place in the batch.", m.queue_time);
  out.histogram("vllm:request_prefill_time_seconds", "From the batch to the first token.", m.prefill_time);
  out.histogram("vllm:request_decode_time_seconds", "From the first token to the last.", m.decode_time);
  out.histogram("octet:step_seconds", "A step of the engine.", m.step_time);
  out.counter("octet:steps_total", "Steps of the engine.", static_cast<double>(m.steps));
  out.gauge("octet:kv_pages_used", "KV cache pages in use.", static_cast<double>(m.kv_pages_used));
  out.gauge("octet:kv_pages_total", "KV cache pages.", static_cast<double>(m.kv_pages_total));
  out.gauge("octet:output_tokens_per_second", "Over the last few seconds.", m.output_tokens_per_second);
}

}  // namespace

std::string metrics_text(const MetricsInput& input) {
  MetricsText out(input.model);
  write_engine(out, input.engine);
  out.histogram("vllm:request_prompt_tokens", "Prompt tokens of a finished sequence.",
                input.requests.prompt_tokens);
  out.histogram("vllm:request_generation_tokens", "Generated tokens of a finished sequence.",
                input.requests.output_tokens);
  out.gauge("octet:open_connections", "TCP connections.", static_cast<double>(input.connections));
  out.gauge("octet:open_generations", "Requests that generate or wait to.",
            static_cast<double>(input.requests.open_generations));
  out.counter("octet:dropped_clients_total", "Clients that read their stream too slowly.",
              static_cast<double>(input.requests.dropped_clients));
  out.head("octet:http_responses_total", "counter", "Answers by HTTP status.");
  for (const auto& [status, n] : input.requests.responses) {
    out.line("octet:http_responses_total", fmt::format(",status=\"{}\"", status), static_cast<double>(n));
  }
  return out.take();
}

std::string status_json(const MetricsInput& input) {
  const EngineMetrics& m = input.engine;
  std::string out = "{";
  const auto text = [&](const char* name, const std::string& value) {
    out += fmt::format("{}\"{}\":", out.size() > 1 ? "," : "", name);
    append_json_string(out, value);
  };
  const auto number = [&](const char* name, auto value) { out += fmt::format(",\"{}\":{}", name, value); };
  text("model", input.model);
  text("scheme", input.scheme);
  text("kv_cache", input.kv_cache);
  number("max_context", input.max_context);
  number("running", m.running);
  number("waiting", m.waiting);
  number("kv_usage", m.kv_usage);
  number("output_tokens_per_second", m.output_tokens_per_second);
  number("prompt_tokens", m.prompt_tokens);
  number("generated_tokens", m.generated_tokens);
  const auto uptime = std::chrono::steady_clock::now() - input.requests.started;
  number("uptime_seconds", std::chrono::duration_cast<std::chrono::seconds>(uptime).count());
  number("draining", input.draining);
  out += '}';
  return out;
}

}  // namespace octet
