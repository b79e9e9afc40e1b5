// Server-sent events of a streamed completion, cut from bytes as they come.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace octet {

class SseReader {
 public:
  // What one event said.
  struct Event {
    bool has_text = false;  // a choice with text (or the delta of one): counts as a token's arrival
    bool done = false;      // [DONE], or a choice with a reason why it ended
    int64_t prompt_tokens = -1, completion_tokens = -1;  // of `usage`, where it came
    std::string error;  // what the server says went wrong, or why the event makes no sense
  };

  // Calls on_event for every whole event in what came so far.
  template <class OnEvent>
  void feed(std::string_view bytes, const OnEvent& on_event) {
    pending_.append(bytes);
    size_t begin = 0;
    for (size_t end; (end = pending_.find('\n', begin)) != std::string::npos; begin = end + 1) {
      std::string_view line(pending_.data() + begin, end - begin);
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (line.starts_with("data:")) on_event(parse(line.substr(5)));
    }
    pending_.erase(0, begin);
  }

  static Event parse(std::string_view data);

 private:
  std::string pending_;
};

}  // namespace octet
