#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>

#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/session.h"

namespace octet {
namespace {

struct Args {
  std::string model;
  std::string text;
  std::vector<int32_t> ids;
  bool no_special = false, json = false;
};

int run(Args& args) {
  const auto spec = read_tokenizer(args.model);
  if (!spec.ok()) return fail(spec.status());
  auto tokenizer = Tokenizer::create(*spec);
  if (!tokenizer.ok()) return fail(tokenizer.status());
  if (!args.ids.empty()) {
    for (const int32_t id : args.ids) {
      if (id < 0 || id >= (*tokenizer)->size()) {
        return fail(invalid_argument("--ids " + std::to_string(id) + ": expected ids in [0, " +
                                     std::to_string((*tokenizer)->size()) + ")"));
      }
    }
    std::printf("%s\n", (*tokenizer)->decode(args.ids, false).c_str());
    return 0;
  }
  if (args.text == "-") args.text.assign(std::istreambuf_iterator<char>(std::cin), {});
  const auto ids = (*tokenizer)->encode(args.text, {!args.no_special, true});
  if (args.json) {
    nlohmann::ordered_json tokens = nlohmann::ordered_json::array();
    for (const auto id : ids) tokens.push_back({{"id", id}, {"text", (*tokenizer)->token_text(id)}});
    const nlohmann::ordered_json json = {{"count", ids.size()}, {"tokens", tokens}};
    std::printf("%s\n", json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
    return 0;
  }
  for (const auto id : ids) std::printf("%8d  %s\n", id, (*tokenizer)->token_text(id).c_str());
  return 0;
}

}  // namespace

void add_tokenize(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("tokenize", "Show the tokens of a text, or the text of tokens");
  auto args = std::make_shared<Args>();
  command
      ->add_option(
          "MODEL", args->model,
          "checkpoint whose tokenizer is used, or a tokenizer.json, a folder with one, a .gguf vocabulary")
      ->required();
  command->add_option("TEXT", args->text, "the text; - reads standard input");
  command->add_option("--ids", args->ids, "token ids to turn into text instead, comma separated")
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_flag("--no-special", args->no_special, "do not add the beginning-of-text token");
  command->add_flag("--json", args->json, "print JSON");
  command->footer("Example:\n  octet tokenize models/smollm2-135m-instruct.gguf 'Hello, world'");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace octet
