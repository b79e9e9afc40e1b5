// Shell completion, written from the same option tables that parse the command line.
#include <cstdio>
#include <memory>

#include "cli/commands.h"
#include "cli/session.h"

namespace octet {
namespace {

std::string words_of(const CLI::App& app) {
  std::string words;
  const auto add = [&](const std::string& word) { words += (words.empty() ? "" : " ") + word; };
  for (const auto* sub : app.get_subcommands([](const CLI::App*) { return true; })) add(sub->get_name());
  for (const auto* option : app.get_options()) {
    for (const auto& name : option->get_lnames()) add("--" + name);
  }
  return words;
}

// "quantize" -> words, "bench throughput" -> words, ...
void collect(const CLI::App& app, const std::string& path,
             std::vector<std::pair<std::string, std::string>>& table) {
  table.emplace_back(path, words_of(app));
  for (const auto* sub : app.get_subcommands([](const CLI::App*) { return true; })) {
    collect(*sub, path.empty() ? sub->get_name() : path + " " + sub->get_name(), table);
  }
}

// A POSIX-shell function body that both bash and zsh understand: finds the longest known command path on the
// line.
void print_bash(const std::vector<std::pair<std::string, std::string>>& table) {
  std::puts("_octet_words() {\n  case \"$1\" in");
  for (const auto& [path, words] : table)
    std::printf("    \"%s\") echo \"%s\" ;;\n", path.c_str(), words.c_str());
  std::puts("  esac\n}");
  std::puts(
      "_octet() {\n"
      "  local current=\"${COMP_WORDS[COMP_CWORD]}\" path=\"\" word\n"
      "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
      "    if [ -n \"$(_octet_words \"${path:+$path }$word\")\" ]; then path=\"${path:+$path }$word\"; fi\n"
      "  done\n"
      "  COMPREPLY=($(compgen -W \"$(_octet_words \"$path\")\" -- \"$current\"))\n"
      "  case \"$current\" in -*) ;; *) COMPREPLY+=($(compgen -f -- \"$current\")) ;; esac\n"
      "}\n"
      "complete -o filenames -F _octet octet");
}

void print_fish(const std::vector<std::pair<std::string, std::string>>& table) {
  for (const auto& [path, words] : table) {
    if (path.empty()) {
      std::printf("complete -c octet -n __fish_use_subcommand -a '%s'\n", words.c_str());
    } else {
      const std::string last = path.substr(path.rfind(' ') + 1);
      std::printf("complete -c octet -n '__fish_seen_subcommand_from %s' -a '%s'\n", last.c_str(),
                  words.c_str());
    }
  }
}

}  // namespace

void add_completion(CLI::App& app, Action& action) {
  auto* command = app.add_subcommand("completion", "Print shell completion");
  auto shell = std::make_shared<std::string>();
  command->add_option("SHELL", *shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
  command->footer("Example:\n  source <(octet completion bash)");
  command->callback([shell, &app, &action] {
    action = [shell, &app] {
      std::vector<std::pair<std::string, std::string>> table;
      collect(app, "", table);
      if (*shell == "fish") {
        print_fish(table);
        return 0;
      }
      if (*shell == "zsh") std::puts("autoload -U +X bashcompinit && bashcompinit");
      print_bash(table);
      return 0;
    };
  });
}

}  // namespace octet
