// `octet eval mmlu|arc|piqa|gsm8k`: questions with known answers.
#include "cli/eval_tasks.h"

#include <memory>

#include <fmt/format.h>

#include "eval/word_problems.h"

namespace octet {
namespace {

struct ProblemArgs {
  EvalArgs eval;
  std::string shots;
  int32_t n_shots = 5, max_tokens = 256;
};

std::string percent(const Estimate& e) {
  return fmt::format("{:>8.2f}% +- {:.2f}%", 100 * e.value, 100 * e.error);
}

std::string paired_line(const PairedDifference& d) {
  return fmt::format(
      "\n{:<22}{:>+8.2f}% +- {:.2f}%  (right alone: model {}, baseline {}; McNemar p = {:.3g})",
      "less the baseline", 100 * d.difference, 100 * d.error, d.only_model, d.only_baseline, d.p_value);
}

std::string choice_table(const ChoiceResult& r) {
  std::string text;
  if (r.groups.size() > 1) {
    for (const auto& g : r.groups) {
      text += fmt::format("  {:<44}{:>7.2f}%  {} of {}\n", g.name,
                          100.0 * static_cast<double>(g.right) / static_cast<double>(g.questions), g.right,
                          g.questions);
    }
    text += fmt::format("{:<22}{}   mean over {} subjects\n", "macro", percent(r.macro), r.groups.size());
    return text + fmt::format("{:<22}{}   over all questions", "acc", percent(r.accuracy));
  }
  return fmt::format("{:<22}{}\n{:<22}{}", "acc", percent(r.accuracy), "acc_norm",
                     percent(r.accuracy_by_character));
}

int run_choice_task(const EvalArgs& args, const ChoiceTask& task) {
  const auto set = read_task(task, args.data, args.limit);
  if (!set.ok()) return fail(set.status());
  auto description = describe_eval(args, task.name);
  description["limit"] = args.limit;
  auto journal = open_journal(args, description, set->text);
  if (!journal.ok()) return fail(journal.status());
  const auto ours = run_choices(args.model, *set, task.name, "model: ", *journal);
  if (!ours.ok()) return fail_eval(ours.status(), args);
  const ChoiceResult result = grade(*set, *ours);
  std::string table = choice_table(result);
  description.update(to_json(result));
  if (!args.baseline.empty()) {
    const auto theirs = run_choices(baseline_args(args.model, args.baseline), *set,
                                    std::string(task.name) + ", baseline", "baseline: ", *journal);
    if (!theirs.ok()) return fail_eval(theirs.status(), args);
    const PairedDifference paired = compare_answers(*set, *ours, *theirs);
    description["baseline_acc"] = grade(*set, *theirs).accuracy.value;
    description["paired"] = to_json(paired);
    table += paired_line(paired);
  }
  return print_eval(args, description, table, *journal);
}

Result<ProblemAnswers> run_problems(const ModelArgs& model, const std::vector<WordProblem>& problems,
                                    const ProblemOptions& options, const std::string& prefix,
                                    Journal& journal) {
  // A question, its examples, and room for a solution: GSM8K's are of some 100 tokens each.
  const auto longest = static_cast<int32_t>(512 + 512 * options.shots.size() / 2) + options.max_tokens;
  OCTET_ASSIGN_OR_RETURN(const int32_t context, context_for(model, longest));
  OCTET_ASSIGN_OR_RETURN(Session session, open_eval_session(model, context, model.options.max_batch));
  OCTET_RETURN_IF_ERROR(start_engine(session, model));
  UnitRun run = unit_run("gsm8k", "problems");
  run.prefix = prefix;
  return answer_problems(*session.engine, *session.tokenizer, problems, options, run, journal);
}

Estimate share(const std::vector<uint8_t>& right) {
  return mean_of({right.begin(), right.end()});
}

int run_gsm8k(const ProblemArgs& args) {
  const EvalArgs& eval = args.eval;
  if (args.max_tokens < 1 || args.n_shots < 1)
    return fail(invalid_argument("--max-tokens and --n-shots must be at least 1"));
  if (auto status = check_data(eval.data, kGsm8kFormat); !status.ok()) return fail(status);
  const auto problems = read_gsm8k(eval.data, eval.limit);
  if (!problems.ok()) return fail(problems.status());
  ProblemOptions options;
  options.max_tokens = args.max_tokens;
  if (!args.shots.empty()) {
    auto shots = read_gsm8k(args.shots, args.n_shots);
    if (!shots.ok()) return fail(shots.status());
    options.shots = std::move(shots).value();
    if (options.shots[0].solution.empty())
      return fail(invalid_argument(args.shots +
                                   ": examples need worked solutions (JSON lines of question and answer)"));
  }
  auto description = describe_eval(eval, "gsm8k");
  description.update(
      {{"limit", eval.limit}, {"shots", options.shots.size()}, {"max_tokens", args.max_tokens}});
  const auto text = read_text_file(eval.data);
  if (!text.ok()) return fail(text.status());
  auto journal = open_journal(eval, description, *text);
  if (!journal.ok()) return fail(journal.status());
  const auto ours = run_problems(eval.model, *problems, options, "model: ", *journal);
  if (!ours.ok()) return fail_eval(ours.status(), eval);
  const Estimate strict = share(ours->strict), flexible = share(ours->flexible);
  description.update({{"questions", problems->size()},
                      {"exact_match_strict", strict.value},
                      {"exact_match_strict_error", strict.error},
                      {"exact_match_flexible", flexible.value},
                      {"exact_match_flexible_error", flexible.error}});
  std::string table = fmt::format("{:<22}{}\n{:<22}{}", "exact match, strict", percent(strict), "flexible",
                                  percent(flexible));
  if (!eval.baseline.empty()) {
    const auto theirs =
        run_problems(baseline_args(eval.model, eval.baseline), *problems, options, "baseline: ", *journal);
    if (!theirs.ok()) return fail_eval(theirs.status(), eval);
    const PairedDifference paired = paired_difference(ours->flexible, theirs->flexible);
    description["baseline_exact_match_flexible"] = share(theirs->flexible).value;
    description["paired"] = to_json(paired);
    table += paired_line(paired);
  }
  return print_eval(eval, description, table, *journal);
}

}  // namespace

const std::vector<ChoiceTask>& choice_tasks() {
  static const std::vector<ChoiceTask> tasks = {
      {"mmlu", "MMLU: 57 subjects, 5 examples before each question", "data/mmlu", kMmluFormat, read_mmlu},
      {"arc", "ARC: school science, zero-shot", "data/arc_challenge_test.jsonl", kArcFormat, read_arc},
      {"piqa", "PIQA: everyday physics, zero-shot", "data/piqa_valid.jsonl", kPiqaFormat, read_piqa},
  };
  return tasks;
}

Result<ChoiceSet> read_task(const ChoiceTask& task, const std::string& path, int64_t limit,
                            const std::string& option) {
  OCTET_RETURN_IF_ERROR(check_data(path, task.format, option));
  return task.read(path, limit);
}

Result<ChoiceAnswers> run_choices(Session& session, const ChoiceSet& set, const std::string& title,
                                  const std::string& prefix, Journal& journal) {
  UnitRun run = unit_run(title, "questions");
  run.prefix = prefix;
  return answer_choices(*session.model, *session.tokenizer, set, run, journal);
}

Result<ChoiceAnswers> run_choices(const ModelArgs& model, const ChoiceSet& set, const std::string& title,
                                  const std::string& prefix, Journal& journal) {
  OCTET_ASSIGN_OR_RETURN(const int32_t context, context_for(model, kQuestionContext));
  OCTET_ASSIGN_OR_RETURN(Session session, open_eval_session(model, context, kQuestionSequences));
  return run_choices(session, set, title, prefix, journal);
}

void add_eval_tasks(CLI::App& eval, Action& action) {
  for (const ChoiceTask& task : choice_tasks()) {
    auto* command = eval.add_subcommand(task.name, task.description);
    auto args = std::make_shared<EvalArgs>();
    add_eval_options(*command, *args, task.path, task.format);
    command
        ->add_option("--limit", args->limit,
                     std::string(task.name) == "mmlu" ? "questions a subject (default: all)"
                                                      : "questions (default: all)")
        ->check(at_least_one());
    command->footer(fmt::format(
        "Example:\n  octet eval {} models/smollm2-135m-instruct.gguf --scheme int8-minmax --baseline "
        "models/smollm2-135m-instruct.gguf --data {} --output {}.json",
        task.name, task.path, task.name));
    command->callback(
        [args, &task, &action] { action = [args, &task] { return run_choice_task(*args, task); }; });
  }
  auto* command = eval.add_subcommand("gsm8k", "GSM8K: word problems, the solution is written out");
  auto args = std::make_shared<ProblemArgs>();
  add_eval_options(*command, args->eval, "data/gsm8k_test.jsonl", kGsm8kFormat, 32);
  command->add_option("--limit", args->eval.limit, "problems (default: all)")->check(at_least_one());
  command->add_option(
      "--shots", args->shots,
      "file of solved problems (GSM8K's train file), the first of which come before each question");
  command->add_option("--n-shots", args->n_shots, "how many of them")->capture_default_str();
  command->add_option("--max-tokens", args->max_tokens, "of a solution")->capture_default_str();
  command->footer(
      "Example:\n  octet eval gsm8k models/smollm2-135m-instruct.gguf --scheme int8-minmax --data "
      "gsm8k_test.jsonl --limit 64");
  command->callback([args, &action] { action = [args] { return run_gsm8k(*args); }; });
}

}  // namespace octet
