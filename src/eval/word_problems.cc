#include "eval/word_problems.h"

#include <cmath>
#include <condition_variable>
#include <mutex>
#include <regex>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "engine/text_output.h"

namespace octet {
namespace {

using nlohmann::json;

constexpr size_t kBlock = 32;  // problems that are in the engine together: a unit

// "$1,234.50." -> 1234.5
std::optional<double> parse_number(std::string text) {
  std::erase_if(text, [](char c) { return c == ',' || c == '$'; });
  while (!text.empty() && text.back() == '.') text.pop_back();
  if (text.empty()) return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  return *end == '\0' && std::isfinite(value) ? std::optional<double>(value) : std::nullopt;
}

// Texts of one block, filled from the engine's thread.
class Answers {
 public:
  Answers(const Tokenizer& tokenizer, size_t n) : left_(n), texts_(n) {
    DetokenizerOptions options;
    options.stop = {"Question:"};
    for (size_t i = 0; i < n; ++i) outputs_.push_back(std::make_unique<TextOutput>(tokenizer, options));
  }
  void on_event(size_t i, const OutputEvent& event) {
    const std::lock_guard lock(mutex_);
    if (outputs_[i]->finished()) return;
    const TextDelta delta = outputs_[i]->push(event);
    texts_[i] += delta.text;
    if (!delta.error.empty()) error_ = delta.error;
    if (delta.finish == FinishReason::kNone) return;
    --left_;
    done_.notify_one();
  }
  // One that never came into the engine.
  void skip() {
    const std::lock_guard lock(mutex_);
    --left_;
  }
  Result<std::vector<std::string>> wait() {
    std::unique_lock lock(mutex_);
    done_.wait(lock, [&] { return left_ == 0; });
    if (!error_.empty()) return internal_error(error_);
    return texts_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable done_;
  size_t left_;
  std::vector<std::string> texts_;
  std::vector<std::unique_ptr<TextOutput>> outputs_;
  std::string error_;
};

Result<std::vector<std::string>> generate(Engine& engine, const Tokenizer& tokenizer,
                                          const std::vector<std::string>& prompts, int32_t max_tokens) {
  const auto answers = std::make_shared<Answers>(tokenizer, prompts.size());
  Status failed;
  for (size_t i = 0; i < prompts.size(); ++i) {
    Request request;
    request.prompt = tokenizer.encode(prompts[i]);
    request.sampling.temperature = 0;
    request.sampling.max_tokens = max_tokens;
    request.on_event = [answers, i](const OutputEvent& event) { answers->on_event(i, event); };
    const auto id = engine.submit(std::move(request));
    if (id.ok()) continue;
    failed = id.status();
    answers->skip();
  }
  auto texts = answers->wait();
  OCTET_RETURN_IF_ERROR(failed);
  return texts;
}

bool same(const std::optional<double>& found, double expected) {
  return found.has_value() && std::abs(*found - expected) <= 1e-6 * std::max(1.0, std::abs(expected));
}

}  // namespace

std::optional<double> strict_answer(const std::string& text) {
  static const std::regex pattern("#### (-?[0-9.,]+)");
  std::smatch match;
  return std::regex_search(text, match, pattern) ? parse_number(match[1]) : std::nullopt;
}

std::optional<double> flexible_answer(const std::string& text) {
  static const std::regex pattern("-?[$0-9.,]{2,}|-?[0-9]+");
  std::string last;
  for (std::sregex_iterator it(text.begin(), text.end(), pattern), end; it != end; ++it) {
    if (parse_number(it->str()).has_value()) last = it->str();
  }
  return parse_number(last);
}

Result<ProblemAnswers> answer_problems(Engine& engine, const Tokenizer& tokenizer,
                                       const std::vector<WordProblem>& problems,
                                       const ProblemOptions& options, const UnitRun& run, Journal& journal) {
  std::string preamble;
  for (const WordProblem& shot : options.shots)
    preamble += fmt::format("Question: {}\nAnswer: {}\n\n", shot.question, shot.solution);
  std::vector<Unit> units;
  for (size_t begin = 0; begin < problems.size(); begin += kBlock) {
    const size_t end = std::min(begin + kBlock, problems.size());
    units.push_back({fmt::format("problems {} to {}", begin, end - 1), static_cast<int64_t>(end - begin)});
  }
  OCTET_ASSIGN_OR_RETURN(
      const auto results, run_units(units, run, journal, [&](size_t unit) -> Result<json> {
        std::vector<std::string> prompts;
        const size_t begin = unit * kBlock, end = std::min(begin + kBlock, problems.size());
        for (size_t i = begin; i < end; ++i) {
          prompts.push_back(fmt::format("{}Question: {}\nAnswer:", preamble, problems[i].question));
        }
        OCTET_ASSIGN_OR_RETURN(const auto texts, generate(engine, tokenizer, prompts, options.max_tokens));
        json strict = json::array(), flexible = json::array();
        for (size_t i = begin; i < end; ++i) {
          strict.push_back(same(strict_answer(texts[i - begin]), problems[i].answer) ? 1 : 0);
          flexible.push_back(same(flexible_answer(texts[i - begin]), problems[i].answer) ? 1 : 0);
        }
        return json{{"strict", strict}, {"flexible", flexible}};
      }));
  ProblemAnswers answers;
  for (const json& result : results) {
    for (const auto& right : result.at("strict")) answers.strict.push_back(right.get<uint8_t>());
    for (const auto& right : result.at("flexible")) answers.flexible.push_back(right.get<uint8_t>());
  }
  return answers;
}

}  // namespace octet
