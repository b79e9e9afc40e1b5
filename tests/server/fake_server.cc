// octet_fake_server serve ANYTHING [--port N] [--api-key K] [--step-us N] [--max-open N] [--max-context N]:
// the server with no model behind it, for the tests of clients and of the page. Prints "ready: URL" as `octet
// serve` does.
#include <charconv>
#include <cstdio>
#include <cstring>
#include <string>

#include "base/log.h"
#include "server/fake_engine.h"
#include "server/server.h"

int main(int argc, char** argv) {
  using namespace octet;
  if (!init_logging("info").ok()) return 1;
  ServerOptions options;
  options.port = 0;
  FakeEngineOptions engine_options;
  for (int i = 1; i + 1 < argc; ++i) {
    const std::string name = argv[i];
    const char* value = argv[i + 1];
    int number = 0;
    std::from_chars(value, value + std::strlen(value), number);
    if (name == "--port") options.port = number;
    if (name == "--api-key") options.api_keys.push_back(value);
    if (name == "--step-us") engine_options.step = std::chrono::microseconds(number);
    if (name == "--max-open") engine_options.max_open = static_cast<size_t>(number);
    if (name == "--max-context") engine_options.max_context = number;
  }
  const FakeTokenizer tokenizer;
  Result<ChatTemplate> chat_template = ChatTemplate::parse(kFakeChatTemplate);
  if (!chat_template.ok()) {
    std::fprintf(stderr, "%s\n", chat_template.status().message().c_str());
    return 1;
  }
  FakeEngine engine(engine_options);
  const ServedModel model{engine,
                          tokenizer,
                          &*chat_template,
                          {},
                          "fake-model",
                          "int8-minmax",
                          "bf16",
                          FakeTokenizer::kSize,
                          {FakeTokenizer::kEos}};
  auto server = Server::start(model, options);
  if (!server.ok()) {
    std::fprintf(stderr, "%s\n", server.status().message().c_str());
    return 1;
  }
  std::printf("ready: %s\n", (*server)->url().c_str());
  std::fflush(stdout);
  run_until_signal(**server);
  return 0;
}
