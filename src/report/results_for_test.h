// Small results of every kind, as the commands write them.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace octet {

inline nlohmann::json speed_json(const std::string& scheme, const std::string& kv, int input, int output,
                                 int batch, double rate, double tok_s, int repeat = 0) {
  return {{"cell", "c"},
          {"model", "llama-3.1-8b"},
          {"scheme", scheme},
          {"quantized_head", false},
          {"kv_dtype", kv},
          {"device", "NVIDIA H100 80GB HBM3, CUDA device 0"},
          {"input_len", input},
          {"output_len", output},
          {"max_batch", batch},
          {"rate", rate},
          {"repeat", repeat},
          {"output_tok_s", tok_s},
          {"ttft_ms", {{"p50", 60.0}, {"p99", 120.0}}},
          {"tpot_ms", {{"p50", 8.5}}}};
}

inline std::string sweep_text() {
  std::string text;
  const auto add = [&](const nlohmann::json& row) { text += row.dump() + "\n"; };
  for (const int batch : {1, 64}) {
    const double b = batch;
    add(speed_json("bf16", "bf16", 2048, 128, batch, 0, 100 * b));
    add(speed_json("fp8", "bf16", 2048, 128, batch, 0, 150 * b));
    add(speed_json("fp8", "bf16", 2048, 128, batch, 0, 170 * b, 1));
    add(speed_json("fp8", "bf16", 2048, 128, batch, 0, 160 * b, 2));
    add(speed_json("fp8-static", "bf16", 2048, 128, batch, 0, 168 * b));
    add(speed_json("int8-minmax", "int8", 128, 2048, batch, 0, 190 * b));
    add(speed_json("bf16", "bf16", 2048, 128, batch, 4, 90));
  }
  return text;
}

inline std::string profile_text() {
  nlohmann::json steps = nlohmann::json::array();
  for (const char* scheme : {"bf16", "int8-minmax"}) {
    for (const int batch : {1, 64}) {
      for (const int context : {128, 2048}) {
        steps.push_back({{"scheme", scheme},
                         {"kv_dtype", "bf16"},
                         {"phase", "decode"},
                         {"batch", batch},
                         {"context", context},
                         {"tokens", batch},
                         {"step_us", 1000.0},
                         {"parts",
                          {{{"part", "linear qkv"}, {"us", 300.0}},
                           {{"part", "linear down"}, {"us", 200.0}},
                           {{"part", "attention"}, {"us", 400.0}},
                           {{"part", "norm"}, {"us", 100.0}}}}});
      }
    }
  }
  return nlohmann::json{
      {"model", "llama-3.1-8b"},
      {"device", "a small device"},
      {"ceilings",
       {{"memory_bytes_s", 1e12}, {"half_flop_s", 1e14}, {"int8_flop_s", 2e14}, {"fp8_flop_s", 0}}},
      {"steps", steps}}
      .dump(2);
}

inline std::string quality_text() {
  return R"({"model": "a model", "rows": [
    {"variant": "a model", "scheme": "baseline", "runs_as": "bf16", "perplexity": 20.0, "kl": 0, "top1": 1},
    {"variant": "a model", "scheme": "fp8", "runs_as": "fp8", "perplexity": 20.4, "perplexity_error": 0.2,
     "ratio": 1.02, "ratio_error": 0.001, "kl": 0.03, "kl_error": 0.002, "top1": 0.9, "mmlu": {"acc": 0.5, "acc_error": 0.01}},
    {"variant": "a model", "scheme": "fp8+gptq", "runs_as": "fp8", "over_16_bit": 0.015, "kl": 0.02, "mmlu": null}]})";
}

inline std::string rival_text() {
  return R"({"engine": "vLLM 0.26.0", "device": "NVIDIA H100 80GB HBM3", "model": "llama-3.1-8b",
    "output_tok_s": {"2048/128": {"64": {"bf16": 5000, "fp8-static+fp8": 9000, "fp8": 8000}}},
    "ttft_at_4_requests_a_second_2048_128_batch_64": {"bf16": {"p50": 63, "p99": 128}}})";
}

}  // namespace octet
