// `octet report`: results of the other commands as one page, with its pictures and tables as files.
#include <cctype>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "base/log.h"
#include "cli/commands.h"
#include "cli/session.h"
#include "cli/typed_command.h"
#include "formats/file_output.h"
#include "formats/random_weights.h"
#include "report/study.h"

namespace octet {
namespace {

struct Args {
  std::vector<std::string> results;
  std::string output, svg, csv, shape;
  bool plain = false;
};

ModelShape shape_of_config(const ModelConfig& c) {
  const double layers = c.n_layers, hidden = c.hidden_size;
  const double query = static_cast<double>(c.n_heads) * c.head_dim;
  const double kv = static_cast<double>(c.n_kv_heads) * c.head_dim;
  ModelShape shape;
  shape.block_weights = layers * hidden * (2 * query + 2 * kv + 3.0 * c.intermediate_size);
  shape.head_weights = hidden * c.vocab_size;
  shape.kv_values = layers * 2 * kv;
  shape.attention_width = layers * query;
  return shape;
}

// "SmolLM2-135M-Instruct.Q8_0" begins with "smollm2-135m": the longest such name of a known shape.
std::string known_name(const std::string& model) {
  std::string lower, best;
  for (const char c : model) lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const std::string& name : known_model_names())
    if (lower.starts_with(name) && name.size() > best.size()) best = name;
  return best;
}

Result<ShapeOf> shapes(const Args& args) {
  if (!args.shape.empty()) {
    OCTET_ASSIGN_OR_RETURN(const auto checkpoint, Checkpoint::random(args.shape, 1));
    return ShapeOf(
        [shape = shape_of_config(checkpoint->config)](const std::string&) { return std::optional(shape); });
  }
  return ShapeOf([](const std::string& model) -> std::optional<ModelShape> {
    const auto config = known_model(known_name(model));
    return config.ok() ? std::optional(shape_of_config(*config)) : std::nullopt;
  });
}

Status make_folder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  return error ? invalid_argument(path + ": cannot make the folder: " + error.message()) : Status();
}

Status write_files(const Args& args, const Study& study) {
  if (!args.svg.empty()) {
    OCTET_RETURN_IF_ERROR(make_folder(args.svg));
    for (const Figure& figure : study.figures)
      OCTET_RETURN_IF_ERROR(write_text_file(args.svg + "/" + figure.id + ".svg", to_svg(figure)));
  }
  if (!args.csv.empty()) {
    OCTET_RETURN_IF_ERROR(make_folder(args.csv));
    for (const ReportSection& section : study.sections)
      for (const ReportTable& table : section.tables)
        OCTET_RETURN_IF_ERROR(write_text_file(args.csv + "/" + table.id + ".csv", to_csv(table)));
  }
  return {};
}

Status run_report(const Args& args) {
  OCTET_ASSIGN_OR_RETURN(const ShapeOf shape_of, shapes(args));
  OCTET_ASSIGN_OR_RETURN(const Results results, read_results(args.results));
  for (const auto& file : results.skipped) log_info("report: no picture shows " + file);
  const Study study = make_study(results, shape_of);
  if (study.figures.empty()) {
    return invalid_argument(
        "there is nothing to show in these results: the pictures are made from what octet bench sweep, octet "
        "profile "
        "and octet eval compare write with --output");
  }
  ReportPage page = study_page(study, results, typed_command());
  page.interactive = !args.plain;
  OCTET_RETURN_IF_ERROR(write_text_file(args.output, render_html(page)));
  OCTET_RETURN_IF_ERROR(write_files(args, study));
  for (const MissingPart& part : study.missing)
    log_info("report: left out: " + part.what + "; it is made by: " + part.command);
  std::printf("%s: %zu pictures\n", args.output.c_str(), study.figures.size());
  return {};
}

int run(const Args& args) {
  const Status status = run_report(args);
  return status.ok() ? 0 : fail(status);
}

}  // namespace

void add_report(CLI::App& app, Action& action) {
  auto args = std::make_shared<Args>();
  auto* command = app.add_subcommand("report", "Pictures and tables of measured results, as one HTML page");
  command
      ->add_option("RESULTS", args->results,
                   "files that bench sweep, bench throughput, profile and eval compare wrote with --output, "
                   "or folders of them")
      ->required();
  command->add_option("-o,--output", args->output, "the page, one HTML file")->required();
  command->add_option("--svg", args->svg, "also write each picture as an SVG file into this folder");
  command->add_option("--csv", args->csv, "also write each table as a CSV file into this folder");
  command->add_flag("--static", args->plain,
                    "pictures that are drawn already, in a small page without a script");
  command->add_option(
      "--shape", args->shape,
      "for the limits: a known model, or a folder with a config.json (default: by the models' names)");
  command->footer(
      "Example:\n  octet report sweep.jsonl profile.json quality.json -o report.html --svg pictures --csv "
      "tables");
  command->callback([args, &action] { action = [args] { return run(*args); }; });
}

}  // namespace octet
