// The sets of questions with choices that `octet eval` knows, and running one model on one of them.
#pragma once

#include <string>
#include <vector>

#include "cli/eval_session.h"
#include "eval/choices.h"

namespace octet {

struct ChoiceTask {
  const char* name;         // "mmlu"
  const char* description;  // for help
  const char* path;         // where its data are looked for
  const char* format;
  Result<ChoiceSet> (*read)(const std::string& path, int64_t limit);
};
const std::vector<ChoiceTask>& choice_tasks();

// `option`: the one that gave the path, for errors.
Result<ChoiceSet> read_task(const ChoiceTask& task, const std::string& path, int64_t limit,
                            const std::string& option = "--data");

// Loads the model, answers, lets the model go. `prefix` tells several models' units in one journal apart.
Result<ChoiceAnswers> run_choices(const ModelArgs& model, const ChoiceSet& set, const std::string& title,
                                  const std::string& prefix, Journal& journal);
// The same with a model that is there already.
Result<ChoiceAnswers> run_choices(Session& session, const ChoiceSet& set, const std::string& title,
                                  const std::string& prefix, Journal& journal);

// Cache and context that questions need.
inline constexpr int32_t kQuestionContext = 4096, kQuestionSequences = 4;

}  // namespace octet
