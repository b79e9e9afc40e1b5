// The OpenAI-compatible HTTP server: one I/O thread for all connections, a few workers that parse and
// tokenize, and the engine's own thread. docs/serving.md lists endpoints, fields and errors.
//
//   connection -> Api (routes) -> prepare (worker: JSON, template, tokens) -> Generation -> Engine::submit
//   Engine::on_event -> EventMailbox -> Generation (text, chunks) -> connection
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "engine/engine.h"
#include "formats/model_config.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace octet {

struct ServerOptions {
  std::string host = "127.0.0.1";
  int port = 8000;                        // 0: any that is free
  std::vector<std::string> api_keys;      // empty: none is asked for
  std::string served_model_name;          // what requests call the model; empty: the model's own name
  std::vector<std::string> cors_origins;  // origins whose pages may call; "*": all
  bool page = true;                       // the chat page at /
  size_t max_body_bytes = 16 << 20;
  size_t max_unsent_bytes = 1 << 20;  // text kept for a reader that is too slow, before it is dropped
  int max_connections = 4096;
  std::chrono::milliseconds drain_timeout{60'000};
  std::chrono::milliseconds header_timeout{15'000}, body_timeout{120'000}, idle_timeout{75'000},
      write_timeout{60'000};
};

// What is served. Everything referred to outlives the server.
struct ServedModel {
  Engine& engine;
  const Tokenizer& tokenizer;
  const ChatTemplate* chat_template = nullptr;  // nullptr: chats are refused
  GenerationDefaults defaults;
  std::string name, scheme, kv_cache;  // as users call them: "smollm2-135m-instruct", "int8-minmax", "bf16"
  int32_t vocab_size = 0;              // token ids are in [0, vocab_size)
  std::vector<int32_t> eos_ids;
};

// Whether the address can be listened on now: what Server::start would say, before there is a model.
Status check_address(const ServerOptions& options);

class Server {
 public:
  // Listens and serves from here on. Errors: kInvalidArgument / kUnavailable where the address cannot be
  // listened on.
  static Result<std::unique_ptr<Server>> start(const ServedModel& model, const ServerOptions& options);
  ~Server();  // stop() and wait()

  int port() const;
  std::string url() const;  // "http://127.0.0.1:8000"

  // Callable from any thread, any number of times; both return at once.
  void request_drain();  // new requests get 503; ends when the open ones have, or after drain_timeout
  void stop();           // ends now; open requests are cancelled
  void wait();           // until one of them is through, or the engine has failed for good

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Serves until SIGINT or SIGTERM: the first one drains, the second one stops.
void run_until_signal(Server& server);

}  // namespace octet
