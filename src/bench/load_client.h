// Streams requests from an OpenAI-compatible server and notes when each piece of text comes: one thread, a
// coroutine a request, connections kept for the next one.
#pragma once

#include <functional>
#include <span>

#include "base/status.h"
#include "bench/load_types.h"

namespace octet {

struct Url {
  std::string host, port, path;  // path: what comes before /v1, without a slash at the end
  std::string text() const { return "http://" + host + ":" + port + path; }
};
// Errors: kInvalidArgument; https is kUnsupported (a measurement belongs into the server's own network).
Result<Url> parse_url(const std::string& text);

struct LoadOptions {
  std::string model;            // empty: the first that /v1/models lists
  std::string api_key;          // sent as a bearer token
  int32_t max_concurrency = 0;  // requests open at a time; 0: as they arrive
  bool ignore_eos = true;  // an extension that vLLM, SGLang, TensorRT-LLM, llama.cpp and Octet understand
  double temperature = 0;
  double timeout = 600;  // seconds a request may take; it counts as failed then
};

// GET of a path below the URL; the body. Errors name the address and what went wrong.
Result<std::string> http_get(const Url& url, const std::string& path, const std::string& api_key,
                             double timeout);
Result<std::string> first_model(const Url& url, const std::string& api_key);

// Sends every request at its time and returns when all have ended. A request that fails is a result with an
// error; a server that cannot be reached at all is an error of the run. `on_tokens` is told of tokens as they
// come (for progress).
Result<std::vector<LoadResult>> run_load(const Url& url, const LoadOptions& options,
                                         std::span<const LoadRequest> requests,
                                         const std::function<void(int64_t)>& on_tokens);

}  // namespace octet
