// What `octet eval compare` measures: schemes made while loading, schemes that are calibrated for it, and
// checkpoints that are there.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/session.h"
#include "quantize/calibration_text.h"
#include "quantize/rounding.h"

namespace octet {

struct Candidate {
  std::string name;  // as asked for
  ModelArgs model;   // what is loaded, unless it is calibrated first:
  bool calibrated = false;
  std::string scheme;
  WeightRounding weights = WeightRounding::kAbsmax;
};

// `wanted`: names of schemes ("int8"; "fp8+gptq", "w4a16+mse" with another rounding of the weights), paths of
// checkpoints, and "all". kInvalidArgument names what is neither.
Result<std::vector<Candidate>> candidates(const ModelArgs& model, const std::vector<std::string>& wanted);

// Makes checkpoints of the candidates that are calibrated, all on one text, which is read (or written by the
// model) when the first of them comes.
class CandidateMaker {
 public:
  // Into `folder`/NAME, where what is there already is taken as it is, unless `folder`/NAME.json says that it
  // was made from something else; empty: into a temporary folder, each removed with the next.
  CandidateMaker(ModelArgs model, CalibrationTextOptions text, std::string folder);
  ~CandidateMaker();
  CandidateMaker(const CandidateMaker&) = delete;
  CandidateMaker& operator=(const CandidateMaker&) = delete;

  // What to load for the candidate.
  Result<ModelArgs> prepare(const Candidate& candidate);

 private:
  Result<std::string> folder_of(const Candidate& candidate);
  Status make(const Candidate& candidate, const std::string& folder);
  // kInvalidArgument where the checkpoint there is that of another model, text or option.
  Status check_kept(const std::string& folder) const;
  nlohmann::ordered_json made_from() const;

  ModelArgs model_;
  CalibrationTextOptions text_;
  std::string folder_;
  std::string temporary_;  // the last one made
  std::optional<TokenSequences> sequences_;
};

}  // namespace octet
