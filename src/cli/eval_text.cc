// `octet eval perplexity` and `octet eval divergence`: how well a model predicts a text, and how far from its
// baseline.
#include <memory>

#include <fmt/format.h>

#include "cli/eval_session.h"
#include "eval/divergence.h"

namespace octet {
namespace {

constexpr const char* kText = "a text file in UTF-8, such as wiki.test.raw of WikiText-2";
constexpr const char* kDefaultText = "data/wikitext-2/wiki.test.raw";

struct Args {
  EvalArgs eval;
  WindowOptions window;
};

// The models, the text in tokens, and the journal: what both commands begin with.
struct TextEval {
  Session model, baseline;  // baseline.model is null where there is none
  std::vector<int32_t> tokens;
  int32_t bos_id = -1;
};

Result<TextEval> open_text_eval(const Args& args, const std::string& text) {
  TextEval t;
  OCTET_ASSIGN_OR_RETURN(t.model, open_eval_session(args.eval.model, args.window.window, 1));
  t.tokens = t.model.tokenizer->encode(text);
  t.bos_id = t.model.tokenizer->bos_id();
  if (args.window.bos && t.bos_id < 0)
    return invalid_argument("--bos: the model's tokenizer has no BOS token");
  if (args.eval.baseline.empty()) return t;
  OCTET_ASSIGN_OR_RETURN(t.baseline, open_eval_session(baseline_args(args.eval.model, args.eval.baseline),
                                                       args.window.window, 1));
  if (t.baseline.tokenizer->encode(text) != t.tokens) {
    return invalid_argument(
        "the baseline's tokenizer cuts the text differently: only models with the same tokens can be "
        "compared");
  }
  return t;
}

nlohmann::ordered_json describe(const Args& args, const std::string& task) {
  auto description = describe_eval(args.eval, task);
  description["window"] = args.window.window;
  description["stride"] = args.window.stride;
  description["bos"] = args.window.bos;
  description["limit"] = args.window.limit;
  return description;
}

std::string perplexity_table(const PerplexityResult& r) {
  std::string text =
      fmt::format("{:<22}{:>12.4f} +- {:.4f}\n", "perplexity", r.perplexity.value, r.perplexity.error);
  if (r.ratio.has_value()) {
    text += fmt::format("{:<22}{:>12.4f} +- {:.4f}\n{:<22}{:>+11.3f}% +- {:.3f}%\n", "baseline perplexity",
                        r.baseline_perplexity->value, r.baseline_perplexity->error, "over the baseline",
                        100 * (r.ratio->value - 1), 100 * r.ratio->error);
  }
  return text + fmt::format("{:<22}{:>12} in {} windows, {:.0f} tokens/s", "tokens", r.tokens, r.windows,
                            r.seconds > 0 ? static_cast<double>(r.tokens) / r.seconds : 0);
}

std::string divergence_table(const DivergenceResult& r) {
  std::string text =
      fmt::format("{:<22}{:>12.5f} +- {:.5f}\n", "KL divergence, mean", r.kl.value, r.kl.error);
  for (const auto& p : r.kl_percentiles) {
    const std::string name = p.share == 0   ? "least"
                             : p.share == 1 ? "largest"
                                            : fmt::format("{:g} %", 100 * p.share);
    text += fmt::format("  {:<20}{:>12.5f}\n", name, p.value);
  }
  text +=
      fmt::format("{:<22}{:>11.3f}% +- {:.3f}%\n", "same top token", 100 * r.top1.value, 100 * r.top1.error);
  text += fmt::format("{:<22}{:>+11.3f}% +- {:.3f}%, root mean square {:.3f}%\n", "change of probability",
                      100 * r.probability_change.value, 100 * r.probability_change.error,
                      100 * r.probability_change_rms);
  return text + perplexity_table(r.perplexity);
}

int finish(const Args& args, const TextEval& t, nlohmann::ordered_json json,
           const nlohmann::ordered_json& result, const std::string& table, Journal& journal) {
  json["runs_as"] = t.model.model->scheme_name();
  json["kv_cache"] = t.model.model->kv_name();
  json["device"] = t.model.model->ops().info().device;
  json["text_tokens"] = t.tokens.size();
  json.update(result);
  return print_eval(args.eval, json, table, journal);
}

int run(Args& args, bool divergence) {
  const std::string task = divergence ? "divergence" : "perplexity";
  EvalArgs& eval = args.eval;
  if (auto status = check_data(eval.data, kText); !status.ok()) return fail(status);
  if (divergence && eval.baseline.empty()) {
    if (eval.model.options.scheme.empty()) {
      return fail(
          invalid_argument("divergence from what? Give --baseline CHECKPOINT, or a --scheme to compare with "
                           "the model as stored"));
    }
    eval.baseline = eval.model.model;
  }
  const auto text = read_eval_text(eval.data);
  if (!text.ok()) return fail(text.status());
  const auto description = describe(args, task);
  auto journal = open_journal(eval, description, *text);
  if (!journal.ok()) return fail(journal.status());
  auto t = open_text_eval(args, *text);
  if (!t.ok()) return fail(t.status());
  const UnitRun units = unit_run(task, "tokens");
  if (divergence) {
    const auto r = measure_divergence(*t->model.model, *t->baseline.model, t->tokens, args.window, t->bos_id,
                                      units, *journal);
    if (!r.ok()) return fail_eval(r.status(), eval);
    return finish(args, *t, description, to_json(*r), divergence_table(*r), *journal);
  }
  const auto r = measure_perplexity(*t->model.model, t->baseline.model.get(), t->tokens, args.window,
                                    t->bos_id, units, *journal);
  if (!r.ok()) return fail_eval(r.status(), eval);
  return finish(args, *t, description, to_json(*r), perplexity_table(*r), *journal);
}

}  // namespace

void add_eval_text(CLI::App& eval, Action& action) {
  for (const bool divergence : {false, true}) {
    auto* command =
        divergence ? eval.add_subcommand("divergence",
                                         "How far a model's next-token distributions are from a baseline's")
                   : eval.add_subcommand("perplexity", "How well a model predicts a text");
    auto args = std::make_shared<Args>();
    add_eval_options(*command, args->eval, kDefaultText, kText);
    add_window_options(*command, args->window);
    command->footer(
        divergence
            ? "Example:\n  octet eval divergence models/smollm2-135m-instruct.gguf --scheme int8-minmax "
              "--data "
              "wiki.test.raw --limit 12"
            : "Example:\n  octet eval perplexity models/smollm2-135m-instruct.gguf --data wiki.test.raw "
              "--limit 12 --json");
    command->callback(
        [args, divergence, &action] { action = [args, divergence] { return run(*args, divergence); }; });
  }
}

}  // namespace octet
