#include "quantize/calibration_text.h"

#include <nlohmann/json.hpp>

#include "base/mapped_file.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace octet {
namespace {

using nlohmann::ordered_json;

// Reads files into one run of token ids.
class FileReader {
 public:
  FileReader(const Checkpoint& checkpoint, const Tokenizer& tokenizer)
      : checkpoint_(checkpoint), tokenizer_(tokenizer) {}

  Status read(const std::string& path) {
    OCTET_ASSIGN_OR_RETURN(const auto file, MappedFile::open(path));
    const std::string_view text(reinterpret_cast<const char*>(file->bytes().data()), file->bytes().size());
    if (text.find_first_not_of(" \t\r\n") == std::string_view::npos) {
      return invalid_argument("--calibration " + path + ": the file is empty");
    }
    if (const auto line = first_bad_line(text); line > 0) {
      return invalid_argument("--calibration " + path + ":" + std::to_string(line) +
                              ": the text is not UTF-8; convert it first");
    }
    if (!path.ends_with(".jsonl")) {
      add(text, /*parse_special=*/false);
      return {};
    }
    size_t number = 0;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      ++number;
      const std::string_view line = text.substr(begin, end - begin);
      begin = end + 1;
      if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
      OCTET_RETURN_IF_ERROR(
          add_json(line).with_context("--calibration " + path + ":" + std::to_string(number)));
    }
    return {};
  }

  std::vector<int32_t> ids;

 private:
  // 1 for the first; 0: all are UTF-8.
  static size_t first_bad_line(std::string_view text) {
    if (is_valid_utf8(text)) return 0;
    size_t number = 0;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      ++number;
      if (!is_valid_utf8(text.substr(begin, end - begin))) return number;
      begin = end + 1;
    }
    return number;
  }

  void add(std::string_view text, bool parse_special) {
    const auto more = tokenizer_.encode(text, {.add_special_tokens = false, .parse_special = parse_special});
    ids.insert(ids.end(), more.begin(), more.end());
  }

  Status add_json(std::string_view line) {
    const auto json = ordered_json::parse(line, nullptr, false);
    if (json.is_object() && json.contains("text") && json["text"].is_string()) {
      add(json["text"].get_ref<const std::string&>(), false);
      return {};
    }
    if (!json.is_object() || !json.contains("messages") || !json["messages"].is_array()) {
      return invalid_argument("expected a JSON object with a `text` or chat `messages`");
    }
    if (!template_) {
      const std::string& source = checkpoint_.tokenizer.chat_template;
      if (source.empty()) {
        return invalid_argument(
            "chat `messages`, but the model has no chat template; give lines with a `text`");
      }
      auto parsed = ChatTemplate::parse(source);
      if (!parsed.ok()) return parsed.status().with_context("chat template");
      template_ = std::move(parsed).value();
    }
    const ordered_json context = {{"messages", json["messages"]},
                                  {"add_generation_prompt", false},
                                  {"bos_token", tokenizer_.bos_token()},
                                  {"eos_token", tokenizer_.eos_token()}};
    OCTET_ASSIGN_OR_RETURN(const std::string text, template_->render(context));
    add(text, true);
    return {};
  }

  const Checkpoint& checkpoint_;
  const Tokenizer& tokenizer_;
  std::optional<ChatTemplate> template_;
};

}  // namespace

Status check_calibration_options(const Checkpoint& checkpoint, const CalibrationTextOptions& options) {
  if (options.samples < 2) return invalid_argument("--samples must be at least 2: one part is held back");
  if (options.sequence_length < 16 || options.sequence_length > checkpoint.config.max_context) {
    return invalid_argument("--sequence-length " + std::to_string(options.sequence_length) +
                            ": expected 16 to " + std::to_string(checkpoint.config.max_context) +
                            ", the length that the model was made for");
  }
  if (checkpoint.tokenizer.empty()) {
    return invalid_argument(checkpoint.path + ": calibration needs the model's tokenizer (tokenizer.json)");
  }
  return {};
}

Result<TokenSequences> read_calibration_files(const Checkpoint& checkpoint,
                                              const CalibrationTextOptions& options) {
  OCTET_RETURN_IF_ERROR(check_calibration_options(checkpoint, options));
  OCTET_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::create(checkpoint.tokenizer));
  FileReader reader(checkpoint, *tokenizer);
  for (const auto& file : options.files) OCTET_RETURN_IF_ERROR(reader.read(file));

  const auto prefix = tokenizer->encode("");
  const size_t samples = static_cast<size_t>(options.samples),
               length = static_cast<size_t>(options.sequence_length);
  const size_t part = length - prefix.size(), parts = reader.ids.size() / part;
  if (parts < samples) {
    return invalid_argument("--calibration " + options.files.front() + ": " +
                            std::to_string(reader.ids.size()) + " tokens, fewer than " +
                            std::to_string(samples) + " samples of " + std::to_string(length) +
                            "; give more text, or fewer --samples");
  }
  TokenSequences sequences;
  for (size_t i = 0; i < samples; ++i) {
    const auto begin = reader.ids.begin() + static_cast<ptrdiff_t>(parts * i / samples * part);
    auto& sequence = sequences.emplace_back(prefix);
    sequence.insert(sequence.end(), begin, begin + static_cast<ptrdiff_t>(part));
  }
  return sequences;
}

}  // namespace octet
