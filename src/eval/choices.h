// Questions with choices, answered by log-likelihood: the choice that the model finds likeliest after the
// question is its answer. The rules are lm-evaluation-harness's: the choice follows the text after a space,
// its tokens are those of the whole less those of the text alone; acc_norm divides by the choice's
// characters.
#pragma once

#include <optional>

#include <nlohmann/json_fwd.hpp>

#include "eval/questions.h"
#include "eval/scorer.h"
#include "eval/statistics.h"
#include "eval/units.h"
#include "text/tokenizer.h"

namespace octet {

// How one model answers, question by question.
struct ChoiceAnswers {
  std::vector<int32_t> picked, picked_by_character;  // [n_questions] indices into the choices
  int64_t shots_left_out = 0;  // questions before which not all examples fit into the context
};

struct ChoiceResult {
  Estimate accuracy, accuracy_by_character;  // over all questions
  Estimate macro;                            // mean over groups; its error from the groups' own
  struct Group {
    std::string name;
    int64_t questions = 0, right = 0;
  };
  std::vector<Group> groups;
  int64_t shots_left_out = 0;
};

Result<ChoiceAnswers> answer_choices(Model& model, const Tokenizer& tokenizer, const ChoiceSet& set,
                                     const UnitRun& run, Journal& journal);
ChoiceResult grade(const ChoiceSet& set, const ChoiceAnswers& answers);
PairedDifference compare_answers(const ChoiceSet& set, const ChoiceAnswers& model,
                                 const ChoiceAnswers& baseline);

nlohmann::ordered_json to_json(const ChoiceResult& result);

// Tokens of a text and of a continuation after it, as lm-evaluation-harness cuts them.
struct EncodedPair {
  std::vector<int32_t> context, continuation;
};
EncodedPair encode_pair(const Tokenizer& tokenizer, std::string context, std::string continuation);

}  // namespace octet
