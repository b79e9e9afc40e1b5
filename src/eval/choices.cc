#include "eval/choices.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "text/utf8.h"

namespace octet {
namespace {

using nlohmann::json;

constexpr size_t kBlock = 64;  // questions that are scored together: a unit

// A question's requests, and which of their log-probabilities belong to which choice.
struct Encoded {
  std::vector<ScoreRequest> requests;
  bool one_request = false;  // all choices are one token after the same text: as many targets at one position
};

Encoded encode_question(const Tokenizer& tokenizer, const std::string& context,
                        const std::vector<std::string>& choices) {
  std::vector<EncodedPair> pairs;
  for (const auto& choice : choices) pairs.push_back(encode_pair(tokenizer, context, " " + choice));
  Encoded encoded;
  encoded.one_request = std::all_of(pairs.begin(), pairs.end(), [&](const EncodedPair& pair) {
    return pair.continuation.size() == 1 && pair.context == pairs[0].context;
  });
  for (const EncodedPair& pair : pairs) {
    const auto last = static_cast<int32_t>(pair.context.size()) - 1;
    if (!encoded.one_request || encoded.requests.empty()) {
      ScoreRequest request{pair.context, {}};
      request.tokens.insert(request.tokens.end(), pair.continuation.begin(), pair.continuation.end() - 1);
      encoded.requests.push_back(std::move(request));
    }
    for (size_t i = 0; i < pair.continuation.size(); ++i) {
      encoded.requests.back().targets.push_back({last + static_cast<int32_t>(i), pair.continuation[i]});
    }
  }
  return encoded;
}

bool fits(const Encoded& encoded, int64_t longest) {
  return std::all_of(encoded.requests.begin(), encoded.requests.end(),
                     [&](const ScoreRequest& request) { return std::ssize(request.tokens) <= longest; });
}

// With as many of the group's last examples as the context holds.
Encoded encode_with_shots(const Tokenizer& tokenizer, const ChoiceGroup& group,
                          const ChoiceQuestion& question, int64_t longest, bool& left_out) {
  left_out = false;
  for (size_t first = 0;; ++first) {
    std::string context = group.preamble;
    for (size_t i = first; i < group.shots.size(); ++i) context += group.shots[i];
    Encoded encoded = encode_question(tokenizer, context + question.text, question.choices);
    if (first >= group.shots.size() || fits(encoded, longest)) return encoded;
    left_out = true;
  }
}

int32_t likeliest(const std::vector<double>& values) {
  return static_cast<int32_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

double n_characters(const std::string& text) {
  double n = 0;
  for (const char c : to_valid_utf8(text)) n += (static_cast<uint8_t>(c) & 0xC0) != 0x80 ? 1 : 0;
  return std::max(n, 1.0);
}

class Block {
 public:
  void add(Encoded encoded) {
    first_.push_back(requests_.size());
    one_.push_back(encoded.one_request);
    for (auto& request : encoded.requests) requests_.push_back(std::move(request));
  }
  const std::vector<ScoreRequest>& requests() const { return requests_; }
  // Log-likelihood of each choice of the i-th question.
  std::vector<double> choices(size_t i, size_t n_choices,
                              const std::vector<std::vector<float>>& logprobs) const {
    std::vector<double> values(n_choices, 0);
    for (size_t c = 0; c < n_choices; ++c) {
      if (one_[i]) {
        values[c] = logprobs[first_[i]][c];
      } else {
        for (const float logprob : logprobs[first_[i] + c]) values[c] += logprob;
      }
    }
    return values;
  }

 private:
  std::vector<ScoreRequest> requests_;
  std::vector<size_t> first_;  // [questions] index of the first request
  std::vector<bool> one_;
};

Result<json> answer_block(Scorer& scorer, int64_t longest, const Tokenizer& tokenizer, const ChoiceSet& set,
                          size_t begin, size_t end) {
  Block block;
  int64_t n_left_out = 0;
  for (size_t i = begin; i < end; ++i) {
    bool left_out = false;
    const ChoiceQuestion& question = set.questions[i];
    block.add(encode_with_shots(tokenizer, set.groups[question.group], question, longest, left_out));
    n_left_out += left_out ? 1 : 0;
  }
  OCTET_ASSIGN_OR_RETURN(const auto logprobs, scorer.score(block.requests()));
  json picked = json::array(), by_character = json::array();
  for (size_t i = begin; i < end; ++i) {
    const auto& choices = set.questions[i].choices;
    auto values = block.choices(i - begin, choices.size(), logprobs);
    picked.push_back(likeliest(values));
    for (size_t c = 0; c < choices.size(); ++c) values[c] /= n_characters(choices[c]);
    by_character.push_back(likeliest(values));
  }
  return json{{"picked", picked}, {"picked_by_character", by_character}, {"shots_left_out", n_left_out}};
}

std::vector<uint8_t> rights(const ChoiceSet& set, const std::vector<int32_t>& picked) {
  std::vector<uint8_t> right;
  for (size_t i = 0; i < set.questions.size(); ++i)
    right.push_back(picked[i] == set.questions[i].answer ? 1 : 0);
  return right;
}

Estimate share_of(const std::vector<uint8_t>& right) {
  double n = 0;
  for (const uint8_t r : right) n += r;
  return estimate_from_sums(n, n, std::ssize(right));
}

}  // namespace

EncodedPair encode_pair(const Tokenizer& tokenizer, std::string context, std::string continuation) {
  const size_t end = context.find_last_not_of(' ') + 1;  // spaces at the end belong to the continuation
  continuation.insert(0, context.substr(end));
  context.resize(end);
  EncodedPair pair;
  pair.context = tokenizer.encode(context);
  const auto whole = tokenizer.encode(context + continuation);
  // A merge across the border would leave nothing: then the last token of the whole is the continuation.
  if (pair.context.size() >= whole.size()) pair.context.assign(whole.begin(), whole.end() - 1);
  pair.continuation.assign(whole.begin() + std::ssize(pair.context), whole.end());
  return pair;
}

Result<ChoiceAnswers> answer_choices(Model& model, const Tokenizer& tokenizer, const ChoiceSet& set,
                                     const UnitRun& run, Journal& journal) {
  std::vector<Unit> units;
  std::vector<size_t> begins;
  for (size_t begin = 0, end = 0; begin < set.questions.size(); begin = end) {
    while (end < set.questions.size() && end - begin < kBlock &&
           set.questions[end].group == set.questions[begin].group)
      ++end;
    units.push_back({fmt::format("questions {} to {}", begin, end - 1), static_cast<int64_t>(end - begin)});
    begins.push_back(begin);
  }
  begins.push_back(set.questions.size());
  Scorer scorer(model);
  const int64_t longest = std::min<int64_t>(model.max_context(), model.memory().kv_tokens);
  OCTET_ASSIGN_OR_RETURN(const auto results, run_units(units, run, journal, [&](size_t i) {
                           return answer_block(scorer, longest, tokenizer, set, begins[i], begins[i + 1]);
                         }));
  ChoiceAnswers answers;
  for (const json& result : results) {
    for (const auto& pick : result.at("picked")) answers.picked.push_back(pick.get<int32_t>());
    for (const auto& pick : result.at("picked_by_character"))
      answers.picked_by_character.push_back(pick.get<int32_t>());
    answers.shots_left_out += result.at("shots_left_out").get<int64_t>();
  }
  return answers;
}

ChoiceResult grade(const ChoiceSet& set, const ChoiceAnswers& answers) {
  ChoiceResult result;
  result.shots_left_out = answers.shots_left_out;
  const auto right = rights(set, answers.picked);
  result.accuracy = share_of(right);
  result.accuracy_by_character = share_of(rights(set, answers.picked_by_character));
  for (const auto& group : set.groups) result.groups.push_back({group.name});
  for (size_t i = 0; i < right.size(); ++i) {
    auto& group = result.groups[set.questions[i].group];
    ++group.questions;
    group.right += right[i];
  }
  std::erase_if(result.groups, [](const auto& group) { return group.questions == 0; });
  double variance = 0;
  for (const auto& group : result.groups) {
    const auto n_right = static_cast<double>(group.right);
    const Estimate e = estimate_from_sums(n_right, n_right, group.questions);
    result.macro.value += e.value;
    variance += e.error * e.error;
  }
  const auto n = static_cast<double>(std::max<size_t>(result.groups.size(), 1));
  result.macro.value /= n;
  result.macro.error = std::sqrt(variance) / n;
  return result;
}

PairedDifference compare_answers(const ChoiceSet& set, const ChoiceAnswers& model,
                                 const ChoiceAnswers& baseline) {
  return paired_difference(rights(set, model.picked), rights(set, baseline.picked));
}

nlohmann::ordered_json to_json(const ChoiceResult& r) {
  int64_t questions = 0;
  for (const auto& group : r.groups) questions += group.questions;
  nlohmann::ordered_json out = {{"questions", questions},
                                {"acc", r.accuracy.value},
                                {"acc_error", r.accuracy.error},
                                {"acc_norm", r.accuracy_by_character.value},
                                {"acc_norm_error", r.accuracy_by_character.error}};
  if (r.groups.size() > 1) {
    out["macro"] = r.macro.value;
    out["macro_error"] = r.macro.error;
    out["shots_left_out"] = r.shots_left_out;
    for (const auto& g : r.groups) {
      out["subjects"].push_back({{"subject", g.name},
                                 {"questions", g.questions},
                                 {"acc", static_cast<double>(g.right) / static_cast<double>(g.questions)}});
    }
  }
  return out;
}

}  // namespace octet
