// GSM8K: the model writes its solution greedily, and the number it arrives at is compared with the known one.
// Two readings, as in lm-evaluation-harness: strict (the number after "#### ") and flexible (the last number
// in the text).
#pragma once

#include <optional>

#include <nlohmann/json_fwd.hpp>

#include "engine/engine.h"
#include "eval/questions.h"
#include "eval/statistics.h"
#include "eval/units.h"
#include "text/tokenizer.h"

namespace octet {

struct ProblemOptions {
  std::vector<WordProblem> shots;  // solved examples before each question
  int32_t max_tokens = 256;        // of a solution
};

struct ProblemAnswers {
  std::vector<uint8_t> strict, flexible;  // [n_problems] right or not
};

Result<ProblemAnswers> answer_problems(Engine& engine, const Tokenizer& tokenizer,
                                       const std::vector<WordProblem>& problems,
                                       const ProblemOptions& options, const UnitRun& run, Journal& journal);

// Empty where the text has none.
std::optional<double> strict_answer(const std::string& text);
std::optional<double> flexible_answer(const std::string& text);

}  // namespace octet
