#include "cli/eval_candidates.h"

#include <csignal>
#include <filesystem>

#include <fmt/format.h>
#include <unistd.h>

#include "base/log.h"
#include "cli/calibration_options.h"
#include "cli/eval_session.h"
#include "formats/file_output.h"
#include "quantize/calibration_report.h"
#include "quantize/quantize.h"

namespace octet {
namespace {

namespace fs = std::filesystem;

// Rounded against the inputs where that is what makes the format usable.
constexpr const char* kRoundedToo[] = {"fp8+gptq", "w4a16+gptq"};

Candidate loaded(const ModelArgs& model, const std::string& scheme) {
  Candidate candidate{scheme, model};
  candidate.model.options.scheme = candidate.scheme = scheme;
  return candidate;
}

// "SCHEME" or "SCHEME+ROUNDING".
Result<Candidate> named(const ModelArgs& model, const std::string& name) {
  const size_t plus = name.find('+');
  const std::string scheme = name.substr(0, plus);
  OCTET_RETURN_IF_ERROR(scheme_by_name(scheme).status());
  Candidate candidate = loaded(model, scheme);
  candidate.name = name;
  candidate.calibrated = scheme_is_calibrated(scheme);
  if (plus == std::string::npos) return candidate;
  auto weights = parse_rounding(name.substr(plus + 1));
  if (!weights.ok()) return weights.status().with_context("--schemes " + name);
  candidate.weights = *weights;
  candidate.calibrated = candidate.calibrated || candidate.weights != WeightRounding::kAbsmax;
  return candidate;
}

}  // namespace

Result<std::vector<Candidate>> candidates(const ModelArgs& model, const std::vector<std::string>& wanted) {
  std::vector<Candidate> list;
  for (const auto& name : wanted) {
    if (name == "all") {
      for (const auto& scheme : scheme_names()) {
        if (scheme == "f32") continue;  // for tests
        OCTET_ASSIGN_OR_RETURN(list.emplace_back(), named(model, scheme));
      }
      for (const char* rounded : kRoundedToo) {
        OCTET_ASSIGN_OR_RETURN(list.emplace_back(), named(model, rounded));
      }
      continue;
    }
    auto scheme = named(model, name);
    if (scheme.ok()) {
      list.push_back(std::move(scheme).value());
    } else if (fs::exists(name)) {
      list.push_back({fs::absolute(name).lexically_normal().filename().string(), baseline_args(model, name)});
    } else {
      return scheme.status();
    }
  }
  return list;
}

CandidateMaker::CandidateMaker(ModelArgs model, CalibrationTextOptions text, std::string folder)
    : model_(std::move(model)), text_(std::move(text)), folder_(std::move(folder)) {}

CandidateMaker::~CandidateMaker() {
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
}

Result<std::string> CandidateMaker::folder_of(const Candidate& candidate) {
  if (!folder_.empty()) {
    std::error_code error;
    fs::create_directories(folder_, error);
    if (error)
      return invalid_argument("--checkpoints " + folder_ + ": cannot create the folder: " + error.message());
    return (fs::path(folder_) / candidate.name).string();
  }
  std::error_code ignored;
  if (!temporary_.empty()) fs::remove_all(temporary_, ignored);
  const fs::path root = fs::temp_directory_path(ignored);
  temporary_ = (root / fmt::format("octet-compare-{}-{}", getpid(), candidate.name)).string();
  fs::remove_all(temporary_, ignored);  // of another process that was killed
  return temporary_;
}

Status CandidateMaker::make(const Candidate& candidate, const std::string& folder) {
  std::signal(SIGINT, SIG_DFL);  // nothing is half done here: Ctrl-C may end it at once
  OCTET_ASSIGN_OR_RETURN(const auto checkpoint, open_checkpoint(model_));
  QuantizeOptions options;
  options.scheme = candidate.scheme;
  options.exclude = model_.options.exclude;
  options.overrides = model_.options.overrides;
  options.quantize_head = model_.options.quantize_head;
  OCTET_ASSIGN_OR_RETURN(const auto schemes, quantized_schemes(*checkpoint, options, true));
  if (!sequences_) {
    OCTET_ASSIGN_OR_RETURN(sequences_, calibration_sequences(model_, checkpoint, text_));
  }
  CalibrationOptions how = usual_calibration(options);
  how.weights = candidate.weights;
  how.n_threads = model_.threads;
  OCTET_ASSIGN_OR_RETURN(const auto ops, make_ops(model_));
  OCTET_ASSIGN_OR_RETURN(const auto calibration, calibrate(*checkpoint, *ops, schemes, *sequences_, how));
  log_info(candidate.name + ": " + calibration_summary(calibration));
  return quantize_checkpoint(*checkpoint, options, folder, &calibration).status();
}

nlohmann::ordered_json CandidateMaker::made_from() const {
  std::error_code ignored;
  const auto named = [&](const std::string& path) {
    return fs::is_regular_file(path, ignored)
               ? fmt::format("{}, {} bytes", fs::absolute(path).string(), fs::file_size(path, ignored))
               : path;
  };
  nlohmann::ordered_json texts = nlohmann::ordered_json::array();
  for (const std::string& file : text_.files) texts.push_back(named(file));
  return {{"model", fs::absolute(model_.model).lexically_normal().string()},
          {"exclude", model_.options.exclude},
          {"override", model_.options.overrides},
          {"quantize-head", model_.options.quantize_head},
          {"calibration", texts},
          {"samples", text_.samples},
          {"sequence-length", text_.sequence_length},
          {"seed", text_.seed}};
}

Status CandidateMaker::check_kept(const std::string& folder) const {
  const std::string record = folder + ".json";
  if (!fs::exists(record)) return {};  // made by hand
  OCTET_ASSIGN_OR_RETURN(const std::string text, read_text_file(record));
  const auto kept = nlohmann::ordered_json::parse(text, nullptr, false);
  const auto now = made_from();
  for (const auto& [key, value] : now.items()) {
    if (kept.is_object() && kept.contains(key) && kept[key] == value) continue;
    return invalid_argument(fmt::format(
        "--checkpoints {}: {} was made with another {} ({}, not {}); give another folder, or remove it",
        folder_, folder, key, kept.is_object() && kept.contains(key) ? kept[key].dump() : "unknown",
        value.dump()));
  }
  return {};
}

Result<ModelArgs> CandidateMaker::prepare(const Candidate& candidate) {
  if (!candidate.calibrated) return candidate.model;
  OCTET_ASSIGN_OR_RETURN(const std::string folder, folder_of(candidate));
  if (!folder_.empty() && fs::exists(fs::path(folder) / "config.json")) {
    OCTET_RETURN_IF_ERROR(check_kept(folder));
    log_info(candidate.name + ": from " + folder);
  } else {
    if (!folder_.empty())
      OCTET_RETURN_IF_ERROR(write_text_file(folder + ".json", made_from().dump(2) + "\n"));
    OCTET_RETURN_IF_ERROR(make(candidate, folder));
  }
  return baseline_args(model_, folder);
}

}  // namespace octet
