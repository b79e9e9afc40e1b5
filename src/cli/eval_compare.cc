// `octet eval compare`: every scheme of one model on one text and sets of questions, as one table and one
// picture.
#include "cli/eval_compare.h"

#include <memory>

#include <fmt/format.h>

#include "base/log.h"
#include "cli/calibration_options.h"
#include "cli/eval_candidates.h"
#include "cli/eval_tasks.h"
#include "formats/file_output.h"

namespace octet {
namespace {

struct Args {
  EvalArgs eval;
  WindowOptions window;
  std::vector<std::string> schemes = {"all"};
  std::vector<std::string> task_data =
      std::vector<std::string>(choice_tasks().size());  // beside choice_tasks()
  CalibrationTextOptions calibration;
  std::string checkpoints;  // folder of calibrated candidates
  std::string report;
};

// What stays the same over all candidates.
struct Bench {
  const Args& args;
  std::vector<int32_t> tokens;  // of the text
  std::vector<std::pair<const ChoiceTask*, ChoiceSet>> sets;
  Journal& journal;
  std::vector<ChoiceAnswers> baseline_answers;  // beside sets
};

Result<Session> open(const ModelArgs& model, const Args& args, bool questions) {
  int32_t context = args.window.window;
  if (questions) {
    OCTET_ASSIGN_OR_RETURN(const int32_t longest, context_for(model, kQuestionContext));
    context = std::max(context, longest);
  }
  return open_eval_session(model, context, questions ? kQuestionSequences : 1);
}

Status answer_tasks(Bench& bench, Session& session, CompareRow& row, bool is_baseline) {
  for (size_t i = 0; i < bench.sets.size(); ++i) {
    const auto& [task, set] = bench.sets[i];
    OCTET_ASSIGN_OR_RETURN(auto answers,
                           run_choices(session, set, row.scheme + ": " + task->name,
                                       fmt::format("{}: {}: ", row.scheme, task->name), bench.journal));
    CompareRow::Task result{task->name, grade(set, answers).accuracy, std::nullopt};
    if (!is_baseline) result.paired = compare_answers(set, answers, bench.baseline_answers[i]);
    row.tasks.push_back(result);
    if (is_baseline) bench.baseline_answers.push_back(std::move(answers));
  }
  return {};
}

UnitRun text_run(const std::string& scheme) {
  UnitRun run = unit_run(scheme + ": text", "tokens");
  run.prefix = scheme + ": text: ";
  return run;
}

Result<CompareRow> measure_baseline(Bench& bench, Session& baseline) {
  CompareRow row;
  row.scheme = "baseline";
  row.runs_as = baseline.model->scheme_name();
  row.weight_bytes = baseline.model->memory().weights;
  OCTET_ASSIGN_OR_RETURN(
      row.perplexity, measure_perplexity(*baseline.model, nullptr, bench.tokens, bench.args.window,
                                         baseline.tokenizer->bos_id(), text_run(row.scheme), bench.journal));
  OCTET_RETURN_IF_ERROR(answer_tasks(bench, baseline, row, true));
  return row;
}

Result<CompareRow> measure(Bench& bench, Session& baseline, const Candidate& candidate,
                           CandidateMaker& maker) {
  OCTET_ASSIGN_OR_RETURN(const ModelArgs model, maker.prepare(candidate));
  OCTET_ASSIGN_OR_RETURN(Session session, open(model, bench.args, !bench.sets.empty()));
  CompareRow row;
  row.scheme = candidate.name;
  row.runs_as = session.model->scheme_name();
  row.weight_bytes = session.model->memory().weights;
  OCTET_ASSIGN_OR_RETURN(
      row.divergence, measure_divergence(*session.model, *baseline.model, bench.tokens, bench.args.window,
                                         session.tokenizer->bos_id(), text_run(row.scheme), bench.journal));
  row.perplexity = row.divergence->perplexity;
  OCTET_RETURN_IF_ERROR(answer_tasks(bench, session, row, false));
  return row;
}

std::string command_line(const Args& args) {
  std::string text = "octet eval compare " + args.eval.model.model + " --schemes " +
                     fmt::format("{}", fmt::join(args.schemes, ",")) + " --data " + args.eval.data +
                     fmt::format(" --window {}", args.window.window);
  if (args.window.stride > 0) text += fmt::format(" --stride {}", args.window.stride);
  if (args.window.limit > 0) text += fmt::format(" --limit {}", args.window.limit);
  if (args.window.bos) text += " --bos";
  for (size_t i = 0; i < args.task_data.size(); ++i) {
    if (!args.task_data[i].empty())
      text += fmt::format(" --{} {}", choice_tasks()[i].name, args.task_data[i]);
  }
  if (args.eval.limit > 0) text += fmt::format(" --questions {}", args.eval.limit);
  const CalibrationTextOptions usual, &c = args.calibration;
  if (c.files != std::vector<std::string>{"self"})
    text += fmt::format(" --calibration {}", fmt::join(c.files, " "));
  if (c.samples != usual.samples) text += fmt::format(" --samples {}", c.samples);
  if (c.sequence_length != usual.sequence_length)
    text += fmt::format(" --sequence-length {}", c.sequence_length);
  return text;
}

Result<Comparison> compare(const Args& args, Bench& bench) {
  Comparison comparison;
  OCTET_ASSIGN_OR_RETURN(const auto list, candidates(args.eval.model, args.schemes));
  CalibrationTextOptions calibration = args.calibration;
  calibration.seed = args.eval.model.seed;
  CandidateMaker maker(args.eval.model, std::move(calibration), args.checkpoints);
  OCTET_ASSIGN_OR_RETURN(Session baseline, open(baseline_args(args.eval.model, args.eval.model.model), args,
                                                !bench.sets.empty()));
  OCTET_ASSIGN_OR_RETURN(const std::string text, read_text_file(args.eval.data));
  bench.tokens = baseline.tokenizer->encode(text);
  if (args.window.bos && baseline.tokenizer->bos_id() < 0)
    return invalid_argument("--bos: the model's tokenizer has no BOS token");
  comparison.model = baseline.name();
  comparison.device = baseline.model->ops().info().device;
  comparison.text = args.eval.data;
  comparison.command = command_line(args);
  OCTET_ASSIGN_OR_RETURN(auto first, measure_baseline(bench, baseline));
  comparison.rows.push_back(std::move(first));
  for (const Candidate& candidate : list) {
    auto row = measure(bench, baseline, candidate, maker);
    if (!row.ok()) return row.status().with_context(candidate.name);
    comparison.rows.push_back(std::move(row).value());
  }
  return comparison;
}

int run(Args& args) {
  EvalArgs& eval = args.eval;
  if (!eval.model.options.scheme.empty())
    return fail(invalid_argument("--scheme: give --schemes, the schemes to compare"));
  if (auto status = check_data(eval.data, "a text file in UTF-8, such as wiki.test.raw of WikiText-2");
      !status.ok())
    return fail(status);
  auto description = describe_eval(eval, "compare");
  description["command"] = command_line(args);
  std::vector<std::pair<const ChoiceTask*, ChoiceSet>> sets;
  for (size_t i = 0; i < args.task_data.size(); ++i) {
    if (args.task_data[i].empty()) continue;
    const ChoiceTask& task = choice_tasks()[i];
    auto set = read_task(task, args.task_data[i], eval.limit, std::string("--") + task.name);
    if (!set.ok()) return fail(set.status());
    sets.emplace_back(&task, std::move(set).value());
  }
  const auto text = read_eval_text(eval.data);
  if (!text.ok()) return fail(text.status());
  if (auto status = check_outputs({args.report}); !status.ok()) return fail(status);
  auto journal = open_journal(eval, description, *text);
  if (!journal.ok()) return fail(journal.status());
  Bench bench{args, {}, std::move(sets), *journal, {}};
  const auto comparison = compare(args, bench);
  if (!comparison.ok()) return fail_eval(comparison.status(), eval);
  if (!args.report.empty()) {
    if (auto status = write_text_file(args.report, render_html(comparison_page(*comparison))); !status.ok())
      return fail(status);
  }
  return print_eval(eval, to_json(*comparison), to_text(comparison_table(*comparison)), *journal);
}

}  // namespace

void add_eval_compare(CLI::App& eval, Action& action) {
  auto* command = eval.add_subcommand("compare", "Every scheme of a model: one table and one picture");
  auto args = std::make_shared<Args>();
  add_eval_options(*command, args->eval, "data/wikitext-2/wiki.test.raw",
                   "a text file in UTF-8, for perplexity and divergence");
  command->remove_option(command->get_option("--baseline"));  // it is MODEL as stored
  add_window_options(*command, args->window);
  command
      ->add_option(
          "--schemes", args->schemes,
          "comma separated: names of schemes (calibrated where they take data), with another rounding of the "
          "weights such as fp8+gptq, quantized checkpoints of the same model, or all")
      ->delimiter(',')
      ->capture_default_str();
  for (size_t i = 0; i < choice_tasks().size(); ++i) {
    command->add_option(std::string("--") + choice_tasks()[i].name, args->task_data[i],
                        std::string("also these questions: ") + choice_tasks()[i].format);
  }
  command->add_option("--questions", args->eval.limit, "of each set; of MMLU, a subject (default: all)")
      ->check(at_least_one());
  add_calibration_text_options(*command, args->calibration);
  command->add_option("--checkpoints", args->checkpoints,
                      "folder that keeps the checkpoints of calibrated schemes; those that are there are not "
                      "made again (default: none is kept)");
  command->add_option("--report", args->report,
                      "write table and picture to this HTML file, which needs nothing else");
  command->footer(
      "Example:\n  octet eval compare models/smollm2-135m-instruct.gguf --schemes all --data wiki.test.raw "
      "--limit 12 --report "
      "schemes.html");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace octet
