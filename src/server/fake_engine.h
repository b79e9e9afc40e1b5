// For tests: an engine and a tokenizer with no model behind them, so that the server can be tried alone.
//
// The tokenizer's tokens are bytes, and a few special ones. The engine says what a prompt asks for: after
// "say:" it repeats the rest of the prompt (up to a special token) and ends; without it, it says letters that
// follow from seed and choice until max_tokens. The log probability of a token is -1/16 of (1 + its id modulo
// 7).
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "engine/engine.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace octet {

class FakeTokenizer final : public Tokenizer {
 public:
  static constexpr int32_t kBos = 256, kEos = 257, kImStart = 258, kImEnd = 259, kSize = 260;

  std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options = {}) const override {
    std::vector<TokenId> ids;
    if (options.add_special_tokens) ids.push_back(kBos);
    while (!text.empty()) {
      int32_t id = static_cast<unsigned char>(text[0]);
      size_t used = 1;
      for (int32_t s = kBos; s < kSize && options.parse_special; ++s) {
        if (text.starts_with(special(s))) {
          id = s;
          used = special(s).size();
        }
      }
      ids.push_back(id);
      text.remove_prefix(used);
    }
    return ids;
  }
  std::string decode(const std::vector<TokenId>& ids, bool skip_special_tokens = true) const override {
    std::string bytes;
    for (const TokenId id : ids) {
      if (!is_special(id) || !skip_special_tokens) bytes += token_bytes(id);
    }
    return to_valid_utf8(bytes);
  }
  std::string token_bytes(TokenId id) const override {
    if (id < 0 || id >= kSize) return "";
    return id < kBos ? std::string(1, static_cast<char>(id)) : std::string(special(id));
  }
  std::string token_text(TokenId id) const override { return token_bytes(id); }
  TokenId find(std::string_view text) const override {
    for (int32_t s = kBos; s < kSize; ++s) {
      if (text == special(s)) return s;
    }
    return text.size() == 1 ? static_cast<unsigned char>(text[0]) : -1;
  }
  bool is_special(TokenId id) const override { return id >= kBos && id < kSize; }
  int32_t size() const override { return kSize; }
  TokenId bos_id() const override { return kBos; }
  TokenId eos_id() const override { return kEos; }
  std::string bos_token() const override { return std::string(special(kBos)); }
  std::string eos_token() const override { return std::string(special(kEos)); }
  bool strips_leading_space() const override { return false; }
  std::string description() const override { return "bytes"; }

 private:
  static std::string_view special(int32_t id) {
    constexpr std::array<std::string_view, 4> kTexts = {"<s>", "</s>", "<|im_start|>", "<|im_end|>"};
    return kTexts[id - kBos];
  }
};

struct FakeEngineOptions {
  int32_t max_context = 4096;
  size_t max_open = 100'000;            // requests; more are refused
  std::chrono::microseconds step{200};  // never 0: others want the lock too
};

class FakeEngine final : public Engine {
 public:
  explicit FakeEngine(FakeEngineOptions options = {}) : options_(options), thread_([this] { loop(); }) {}
  ~FakeEngine() override {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }

  Result<std::vector<RequestId>> submit(std::vector<Request> requests) override {
    const std::lock_guard lock(mutex_);
    if (draining_) return unavailable("the engine is draining");
    if (broken_) return unavailable("the fake device broke");
    if (open_.size() + requests.size() > options_.max_open) return resource_exhausted("the queue is full");
    for (const Request& request : requests)
      OCTET_RETURN_IF_ERROR(request.sampling.validate(FakeTokenizer::kSize));
    std::vector<RequestId> ids;
    for (Request& request : requests) {
      last_request_ = request;
      Open& open = open_[ids.emplace_back(next_++)];
      open.request = std::move(request);
      open.choices.resize(open.request.n);
      metrics_.prompt_tokens += open.request.prompt.size();
    }
    changed_.notify_all();
    return ids;
  }
  void cancel(RequestId id) override {
    const std::lock_guard lock(mutex_);
    const auto it = open_.find(id);
    if (it == open_.end()) return;
    for (auto& choice : it->second.choices) choice.cancelled = true;
    ++n_cancelled;
  }
  void cancel_choice(RequestId id, int32_t choice) override {
    const std::lock_guard lock(mutex_);
    const auto it = open_.find(id);
    if (it == open_.end()) return;
    it->second.choices[choice].cancelled = true;
    ++n_cancelled_choices;
  }
  void drain(std::chrono::milliseconds) override {
    const std::lock_guard lock(mutex_);
    draining_ = true;
  }
  Status status() const override {
    const std::lock_guard lock(mutex_);
    return broken_ ? unavailable("the fake device broke") : Status();
  }
  EngineMetrics metrics() const override {
    const std::lock_guard lock(mutex_);
    EngineMetrics m = metrics_;
    m.running = static_cast<int64_t>(open_.size());
    m.kv_usage = 0.25;
    m.output_tokens_per_second = 1234.5;
    return m;
  }
  int32_t max_context() const override { return options_.max_context; }

  size_t open_requests() const {
    const std::lock_guard lock(mutex_);
    return open_.size();
  }
  Request last_request() const {
    const std::lock_guard lock(mutex_);
    return last_request_;
  }
  void pause(bool paused) {
    const std::lock_guard lock(mutex_);
    paused_ = paused;
    changed_.notify_all();
  }
  // Ends every open request with an error.
  void fail_all() {
    const std::lock_guard lock(mutex_);
    fail_ = true;
  }
  // The device is gone for good.
  void fail_device() {
    const std::lock_guard lock(mutex_);
    fail_ = broken_ = true;
  }

  std::atomic<int> n_cancelled{0}, n_cancelled_choices{0};

 private:
  struct ChoiceState {
    int32_t n_tokens = 0;
    bool cancelled = false, finished = false;
  };
  struct Open {
    Request request;
    std::vector<ChoiceState> choices;
  };

  static float logprob_of(int32_t token) { return -static_cast<float>(1 + token % 7) / 16; }

  static OutputToken output(int32_t token, int32_t n_top) {
    OutputToken out;
    out.token = token;
    out.logprob = logprob_of(token);
    for (int32_t k = 0; k < n_top; ++k) {
      const int32_t other = (token + k) % 128;
      out.top.push_back({other, logprob_of(other)});
    }
    return out;
  }

  // -1: end of sequence.
  static int32_t next_token(const Request& r, int32_t choice, int32_t position) {
    static constexpr std::array<int32_t, 4> kSay = {'s', 'a', 'y', ':'};
    const auto found = std::find_end(r.prompt.begin(), r.prompt.end(), kSay.begin(), kSay.end());
    if (found == r.prompt.end()) {
      const uint64_t seed =
          r.sampling.temperature == 0 || !r.sampling.has_seed ? 0 : r.sampling.seed + choice;
      return static_cast<int32_t>('a' + (seed * 7 + static_cast<uint64_t>(position) * (seed + 3)) % 26);
    }
    const auto text = found + 4;
    if (r.prompt.end() - text <= position || text[position] >= FakeTokenizer::kBos) return -1;
    return text[position];
  }

  OutputEvent advance(const Request& r, int32_t index, ChoiceState& c) {
    OutputEvent event;
    event.choice = index;
    if (c.n_tokens == 0 && index == 0 && r.sampling.prompt_logprobs >= 0) {
      for (size_t i = 1; i < r.prompt.size(); ++i) {
        event.prompt_logprobs.push_back(output(r.prompt[i], r.sampling.prompt_logprobs));
      }
    }
    if (c.n_tokens == 0) event.cached_prompt_tokens = static_cast<int32_t>(r.prompt.size() / 2);
    const int32_t token = next_token(r, index, c.n_tokens);
    const auto& stops = r.sampling.stop_token_ids;
    if (c.cancelled) {
      event.finish = FinishReason::kCancelled;
    } else if (fail_) {
      event.finish = FinishReason::kError;
      event.error = "the fake device broke";
    } else if (token < 0 || std::find(stops.begin(), stops.end(), token) != stops.end()) {
      event.finish = FinishReason::kStop;
      event.stop_token = token < 0 ? FakeTokenizer::kEos : token;
    } else {
      event.tokens.push_back(output(token, std::max(r.sampling.n_logprobs, 0)));
      ++metrics_.generated_tokens;
      if (++c.n_tokens == r.sampling.max_tokens) event.finish = FinishReason::kLength;
    }
    c.finished = event.finish != FinishReason::kNone;
    return event;
  }

  void loop() {
    std::unique_lock lock(mutex_);
    while (!stop_) {
      if (open_.empty() || paused_) {
        changed_.wait(lock);
        continue;
      }
      for (auto it = open_.begin(); it != open_.end();) {
        Open& open = it->second;
        bool done = true;
        for (size_t i = 0; i < open.choices.size(); ++i) {
          ChoiceState& choice = open.choices[i];
          if (!choice.finished) open.request.on_event(advance(open.request, static_cast<int32_t>(i), choice));
          done = done && choice.finished;
        }
        it = done ? open_.erase(it) : std::next(it);
      }
      fail_ = false;
      lock.unlock();
      std::this_thread::sleep_for(options_.step);
      lock.lock();
    }
  }

  const FakeEngineOptions options_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<RequestId, Open> open_;
  RequestId next_ = 1;
  Request last_request_;
  EngineMetrics metrics_ = [] {
    EngineMetrics m;
    m.ttft = m.inter_token = m.e2e = m.queue_time = m.prefill_time = m.decode_time = m.step_time =
        Histogram({0.001, 0.01, 0.1, 1});
    m.ttft.observe(0.005);
    m.ttft.observe(5);
    return m;
  }();
  bool stop_ = false, paused_ = false, draining_ = false, fail_ = false, broken_ = false;
  std::thread thread_;  // last: it uses all of the above
};

inline constexpr const char* kFakeChatTemplate =
    "{%- for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{%- if tools %}[{{ tools | length }} tools]{% endif %}"
    "{%- if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

}  // namespace octet
