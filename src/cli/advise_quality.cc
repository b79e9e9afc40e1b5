#include "cli/advise_quality.h"

#include <algorithm>
#include <span>

#include <fmt/format.h>

#include "base/log.h"
#include "base/mapped_file.h"
#include "cli/eval_session.h"
#include "eval/divergence.h"
#include "formats/json_fields.h"

namespace octet {
namespace {

constexpr int32_t kWindow = 512;

}  // namespace

Result<Session> open_quality_baseline(const AdviseArgs& args) {
  OCTET_ASSIGN_OR_RETURN(const int32_t window, context_for(args.model, kWindow));
  return open_eval_session(baseline_args(args.model, args.model.model), window, 1);
}

Result<QualityText> quality_text(const AdviseArgs& args, const Session& baseline) {
  QualityText text;
  text.window.window = std::min(kWindow, baseline.model->max_context());
  text.window.limit = args.windows;
  if (!args.data.empty()) {
    OCTET_ASSIGN_OR_RETURN(const std::string read, read_eval_text(args.data));
    text.tokens = baseline.tokenizer->encode(read);
    text.label = args.data;
    const int64_t most = static_cast<int64_t>(text.tokens.size()) / text.window.window;
    text.label += fmt::format(", {} tokens", std::min<int64_t>(most, args.windows) * text.window.window);
    return text;
  }
  CalibrationTextOptions own;
  own.samples = std::max(args.windows, 2);  // text to calibrate on has no less
  own.sequence_length = text.window.window;
  own.seed = args.model.seed + 1;  // not the text that schemes are calibrated on
  log_info("quality: on text that the model writes itself (--data FILE takes yours)");
  OCTET_ASSIGN_OR_RETURN(auto ops, make_ops(args.model));
  OCTET_ASSIGN_OR_RETURN(const auto sequences, write_own_text(baseline.checkpoint, std::move(ops), own));
  for (const auto& sequence : std::span(sequences).first(static_cast<size_t>(args.windows))) {
    text.tokens.insert(text.tokens.end(), sequence.begin(), sequence.end());
  }
  text.label = fmt::format("text that the model wrote itself, {} tokens", text.tokens.size());
  return text;
}

Result<QualityFigures> measure_quality(const ModelArgs& load, Session& baseline, const QualityText& text,
                                       const std::string& name) {
  OCTET_ASSIGN_OR_RETURN(Session session, open_eval_session(load, text.window.window, 1));
  OCTET_ASSIGN_OR_RETURN(auto journal, Journal::open("", {}));
  OCTET_ASSIGN_OR_RETURN(
      const auto result,
      measure_divergence(*session.model, *baseline.model, text.tokens, text.window,
                         session.tokenizer->bos_id(), unit_run(name + ": quality", "tokens"), journal));
  return QualityFigures{result.kl.value, result.perplexity.ratio ? result.perplexity.ratio->value - 1 : 0,
                        result.top1.value};
}

Result<std::map<std::string, QualityFigures>> read_quality(const std::string& path) {
  OCTET_ASSIGN_OR_RETURN(const std::string text, read_text_file(path));
  OCTET_ASSIGN_OR_RETURN(const auto json, parse_json(text, path));
  const std::string expected = "; expected the JSON of `octet eval compare`";
  if (!json.is_object() || !json.contains("rows") || !json["rows"].is_array()) {
    return corrupt(path + ": there are no rows" + expected);
  }
  std::map<std::string, QualityFigures> figures;
  for (size_t i = 0; i < json["rows"].size(); ++i) {
    JsonFields row(json["rows"][i], path + fmt::format(": rows[{}]", i));
    std::string scheme;
    float kl = 0, top1 = 1, ratio = 1;
    row.require("scheme", &scheme);
    row.require("kl", &kl);
    row.require("top1", &top1);
    row.read("ratio", &ratio);
    if (!row.status().ok()) return corrupt(row.status().message() + expected);
    figures[scheme] = {kl, ratio - 1, top1};
  }
  return figures;
}

}  // namespace octet
