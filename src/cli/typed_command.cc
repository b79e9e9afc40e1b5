#include "cli/typed_command.h"

#include <string_view>

namespace octet {
namespace {

std::string typed = "octet";

std::string quoted(std::string_view word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./,:=+@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string_view::npos) return std::string(word);
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

}  // namespace

void remember_command(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) typed += " " + quoted(argv[i]);
}

const std::string& typed_command() {
  return typed;
}

}  // namespace octet
