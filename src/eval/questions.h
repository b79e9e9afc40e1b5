// Questions with known answers, as the public sets have them on disk.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace octet {

struct ChoiceQuestion {
  size_t group = 0;  // index into ChoiceSet::groups
  std::string text;  // up to and with "Answer:"; the choices come after a space
  std::vector<std::string> choices;
  int32_t answer = 0;  // index into choices
};

// Questions that share a beginning: a subject of MMLU with its solved examples.
struct ChoiceGroup {
  std::string name, preamble;
  std::vector<std::string> shots;  // each ends in an empty line
};

struct ChoiceSet {
  std::vector<ChoiceGroup> groups;
  std::vector<ChoiceQuestion> questions;  // by group
  std::string text;                       // of the files, for telling two sets apart
};

struct WordProblem {
  std::string question, solution;  // the solution is empty where the file has the number alone
  double answer = 0;
};

inline constexpr const char* kMmluFormat =
    "the folder of MMLU (hendrycks/test): dev/<subject>_dev.csv and test/<subject>_test.csv, each line "
    "question, A, B, C, D, letter";
inline constexpr const char* kArcFormat =
    "a file of ARC: JSON lines with question, choices, answerKey (as AllenAI or the Hugging Face hub have "
    "them), or a JSON array "
    "with instruction and answer (LLM-Adapters)";
inline constexpr const char* kPiqaFormat =
    "a file of PIQA: JSON lines with goal, sol1, sol2 and label (or the labels in <file>-labels.lst beside "
    "it), or a JSON array "
    "with instruction and answer (LLM-Adapters)";
inline constexpr const char* kGsm8kFormat =
    "a file of GSM8K: JSON lines with question and answer (its last line '#### number'), or a JSON array "
    "with sQuestion and "
    "lSolutions";

// 5 solved examples of each subject's dev file, in order; at most `limit` questions a subject (0: all).
Result<ChoiceSet> read_mmlu(const std::string& folder, int64_t limit);
// Zero-shot, the first `limit` questions.
Result<ChoiceSet> read_arc(const std::string& path, int64_t limit);
Result<ChoiceSet> read_piqa(const std::string& path, int64_t limit);
Result<std::vector<WordProblem>> read_gsm8k(const std::string& path, int64_t limit);

}  // namespace octet
