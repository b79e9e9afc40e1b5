#include "eval/questions.h"

#include <algorithm>
#include <charconv>
#include <filesystem>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/mapped_file.h"
#include "eval/csv.h"
#include "eval/json_rows.h"

namespace octet {
namespace {

using nlohmann::json;

constexpr size_t kShots = 5;
constexpr const char* kLetters = "ABCD";

std::string trimmed(std::string text) {
  const char* spaces = " \t\r\n";
  text.erase(text.find_last_not_of(spaces) + 1);
  text.erase(0, std::min(text.find_first_not_of(spaces), text.size()));
  return text;
}

struct MmluRow {
  std::string text;  // the question with its four choices, and "Answer:"
  int32_t answer = 0;
};

Result<std::vector<MmluRow>> read_mmlu_file(const std::string& path, std::string& all_text) {
  OCTET_ASSIGN_OR_RETURN(const std::string text, read_text_file(path));
  all_text += text;
  OCTET_ASSIGN_OR_RETURN(const auto rows, parse_csv(text, path));
  std::vector<MmluRow> questions;
  for (const CsvRow& row : rows) {
    const std::string where = fmt::format("{}: line {}: ", path, row.line);
    if (row.fields.size() != 6) {
      return corrupt(where +
                     fmt::format("{} fields, expected question, A, B, C, D, answer", row.fields.size()));
    }
    const std::string letter = trimmed(row.fields[5]);
    const char* place = letter.size() == 1 ? std::char_traits<char>::find(kLetters, 4, letter[0]) : nullptr;
    if (place == nullptr) return corrupt(where + "the answer is '" + letter + "', expected A, B, C or D");
    MmluRow question{trimmed(row.fields[0]), static_cast<int32_t>(place - kLetters)};
    for (size_t i = 0; i < 4; ++i) question.text += fmt::format("\n{}. {}", kLetters[i], row.fields[i + 1]);
    question.text += "\nAnswer:";
    questions.push_back(std::move(question));
  }
  if (questions.empty()) return corrupt(path + ": no questions");
  return questions;
}

// The rewordings of LLM-Adapters: "...question: QUESTION\n\nAnswer1: ... Answer2: ...\n\nAnswer format: ...".
Status read_reworded(const json& row, const std::string& where, const std::string& label,
                     ChoiceQuestion& out) {
  OCTET_ASSIGN_OR_RETURN(const std::string text, string_field(row, "instruction", where));
  OCTET_ASSIGN_OR_RETURN(const std::string answer, string_field(row, "answer", where));
  const std::string intro = "question: ";
  size_t begin = text.find(intro);
  begin = begin == std::string::npos ? 0 : begin + intro.size();
  const size_t end = std::min(text.rfind("\n\nAnswer format"), text.size());
  size_t at = text.find("\n\n" + label + "1: ", begin);
  if (at == std::string::npos || at > end) return corrupt(where + "instruction has no '" + label + "1: '");
  const std::string question = trimmed(text.substr(begin, at - begin));
  for (int i = 1; at < end; ++i) {
    const size_t choice = text.find(": ", at) + 2;
    const size_t next = std::min({text.find(fmt::format(" {}{}: ", label, i + 1), choice),
                                  text.find(fmt::format("\n{}{}: ", label, i + 1), choice), end});
    out.choices.push_back(trimmed(text.substr(choice, next - choice)));
    at = next;
  }
  const std::string digits = answer.substr(std::min(answer.find_first_of("0123456789"), answer.size()));
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), out.answer);
  if (parsed.ec != std::errc())
    return corrupt(where + "answer is '" + answer + "', expected one such as " + label + "1");
  --out.answer;
  out.text = "Question: " + question + "\nAnswer:";
  return {};
}

Status check_answer(const ChoiceQuestion& question, const std::string& where) {
  if (question.choices.size() < 2) return corrupt(where + "fewer than two choices");
  if (question.answer < 0 || question.answer >= std::ssize(question.choices)) {
    return corrupt(where + "the answer is none of the choices");
  }
  return {};
}

Status read_arc_row(const json& row, const std::string& where, ChoiceQuestion& out) {
  if (row.contains("instruction")) return read_reworded(row, where, "Answer", out);
  const bool nested = row.contains("question") && row["question"].is_object();  // AllenAI's own files
  OCTET_ASSIGN_OR_RETURN(const std::string question, nested ? string_field(row["question"], "stem", where)
                                                            : string_field(row, "question", where));
  OCTET_ASSIGN_OR_RETURN(const std::string key, string_field(row, "answerKey", where));
  const json& choices = nested ? row["question"].value("choices", json()) : row.value("choices", json());
  out.answer = -1;
  const auto add = [&](const std::string& text, const std::string& label) {
    if (label == key) out.answer = static_cast<int32_t>(out.choices.size());
    out.choices.push_back(text);
  };
  const auto strings = [](const json& list) {
    return list.is_array() &&
           std::all_of(list.begin(), list.end(), [](const json& v) { return v.is_string(); });
  };
  if (choices.is_object() && strings(choices.value("text", json())) &&
      strings(choices.value("label", json())) && choices["text"].size() == choices["label"].size()) {
    for (size_t i = 0; i < choices["text"].size(); ++i) add(choices["text"][i], choices["label"][i]);
  } else if (choices.is_array()) {
    for (const json& choice : choices) {
      OCTET_ASSIGN_OR_RETURN(const std::string text, string_field(choice, "text", where));
      OCTET_ASSIGN_OR_RETURN(const std::string label, string_field(choice, "label", where));
      add(text, label);
    }
  } else {
    return corrupt(where + "choices: expected a list of {text, label}, or {text: [...], label: [...]}");
  }
  out.text = "Question: " + question + "\nAnswer:";
  return {};
}

// The label of each line of PIQA's own files, which stands in a file of its own; empty where there is none.
Result<std::vector<int32_t>> read_piqa_labels(const std::string& path) {
  std::filesystem::path labels(path);
  labels.replace_filename(labels.stem().string() + "-labels.lst");
  std::vector<int32_t> values;
  if (!std::filesystem::exists(labels)) return values;
  OCTET_ASSIGN_OR_RETURN(const std::string text, read_text_file(labels.string()));
  for (const char c : text) {
    if (c == '0' || c == '1') values.push_back(c - '0');
    if (c != '0' && c != '1' && c != '\n' && c != '\r')
      return corrupt(labels.string() + ": expected a 0 or a 1 a line");
  }
  return values;
}

template <typename ReadRow>
Result<ChoiceSet> read_choices(const std::string& path, int64_t limit, const std::string& name,
                               const ReadRow& read_row) {
  ChoiceSet set;
  set.groups.push_back({name, "", {}});
  OCTET_ASSIGN_OR_RETURN(const auto rows, read_json_rows(path, set.text));
  for (size_t i = 0; i < rows.size() && (limit == 0 || std::ssize(set.questions) < limit); ++i) {
    const std::string where = path + ": " + rows[i].where + ": ";
    ChoiceQuestion question;
    OCTET_RETURN_IF_ERROR(read_row(rows[i].value, where, i, question));
    OCTET_RETURN_IF_ERROR(check_answer(question, where));
    set.questions.push_back(std::move(question));
  }
  return set;
}

}  // namespace

Result<ChoiceSet> read_mmlu(const std::string& folder, int64_t limit) {
  const std::string suffix = "_test.csv";
  std::vector<std::string> subjects;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder + "/test", ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(suffix)) subjects.push_back(name.substr(0, name.size() - suffix.size()));
  }
  if (subjects.empty()) return not_found(folder + ": no test/<subject>_test.csv; expected " + kMmluFormat);
  std::sort(subjects.begin(), subjects.end());
  ChoiceSet set;
  for (const auto& subject : subjects) {
    OCTET_ASSIGN_OR_RETURN(const auto dev,
                           read_mmlu_file(fmt::format("{}/dev/{}_dev.csv", folder, subject), set.text));
    OCTET_ASSIGN_OR_RETURN(const auto test,
                           read_mmlu_file(fmt::format("{}/test/{}_test.csv", folder, subject), set.text));
    std::string spoken = subject;
    std::replace(spoken.begin(), spoken.end(), '_', ' ');
    ChoiceGroup group{
        subject,
        fmt::format("The following are multiple choice questions (with answers) about {}.\n\n", spoken),
        {}};
    for (size_t i = 0; i < std::min(kShots, dev.size()); ++i) {
      group.shots.push_back(fmt::format("{} {}\n\n", dev[i].text, kLetters[dev[i].answer]));
    }
    for (size_t i = 0; i < test.size() && (limit == 0 || static_cast<int64_t>(i) < limit); ++i) {
      set.questions.push_back({set.groups.size(), test[i].text, {"A", "B", "C", "D"}, test[i].answer});
    }
    set.groups.push_back(std::move(group));
  }
  return set;
}

Result<ChoiceSet> read_arc(const std::string& path, int64_t limit) {
  return read_choices(path, limit, "arc",
                      [](const json& row, const std::string& where, size_t, ChoiceQuestion& out) {
                        return read_arc_row(row, where, out);
                      });
}

Result<ChoiceSet> read_piqa(const std::string& path, int64_t limit) {
  OCTET_ASSIGN_OR_RETURN(const auto labels, read_piqa_labels(path));
  return read_choices(
      path, limit, "piqa",
      [&](const json& row, const std::string& where, size_t i, ChoiceQuestion& out) -> Status {
        if (row.contains("instruction")) return read_reworded(row, where, "Solution", out);
        OCTET_ASSIGN_OR_RETURN(const std::string goal, string_field(row, "goal", where));
        for (const char* key : {"sol1", "sol2"}) {
          OCTET_ASSIGN_OR_RETURN(std::string solution, string_field(row, key, where));
          out.choices.push_back(std::move(solution));
        }
        if (row.contains("label") && row["label"].is_number_integer()) {
          out.answer = row["label"].get<int32_t>();
        } else if (i < labels.size()) {
          out.answer = labels[i];
        } else {
          return corrupt(where + "no label, in the line or in a file of labels beside it");
        }
        out.text = "Question: " + goal + "\nAnswer:";
        return {};
      });
}

Result<std::vector<WordProblem>> read_gsm8k(const std::string& path, int64_t limit) {
  std::string text;
  OCTET_ASSIGN_OR_RETURN(const auto rows, read_json_rows(path, text));
  std::vector<WordProblem> problems;
  for (const JsonRow& row : rows) {
    if (limit > 0 && std::ssize(problems) == limit) break;
    const std::string where = path + ": " + row.where + ": ";
    WordProblem problem;
    if (row.value.contains("sQuestion")) {
      OCTET_ASSIGN_OR_RETURN(problem.question, string_field(row.value, "sQuestion", where));
      if (!row.value.value("lSolutions", json()).is_number())
        return corrupt(where + "lSolutions: expected a number");
      problem.answer = row.value["lSolutions"].get<double>();
    } else {
      OCTET_ASSIGN_OR_RETURN(problem.question, string_field(row.value, "question", where));
      OCTET_ASSIGN_OR_RETURN(problem.solution, string_field(row.value, "answer", where));
      const size_t mark = problem.solution.rfind("#### ");
      std::string number = mark == std::string::npos ? "" : trimmed(problem.solution.substr(mark + 5));
      std::erase(number, ',');
      char* end = nullptr;
      problem.answer = std::strtod(number.c_str(), &end);
      if (number.empty() || *end != '\0')
        return corrupt(where + "answer: expected a last line '#### number'");
    }
    problems.push_back(std::move(problem));
  }
  return problems;
}

}  // namespace octet
