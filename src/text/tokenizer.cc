#include "text/tokenizer.h"

#include <algorithm>

#include "text/tokenizer_parts.h"
#include "text/utf8.h"

namespace octet {

namespace {

class PipelineTokenizer final : public Tokenizer {
 public:
  explicit PipelineTokenizer(TokenizerParts parts) : parts_(std::move(parts)) {}

  std::vector<TokenId> encode(std::string_view text, const EncodeOptions& options) const override {
    std::vector<TokenId> ids;
    if (options.add_special_tokens) ids = parts_.prefix;
    if (is_valid_utf8(text)) {
      encode_text(text, options, &ids);
    } else {
      encode_text(to_valid_utf8(text), options, &ids);
    }
    if (options.add_special_tokens) ids.insert(ids.end(), parts_.suffix.begin(), parts_.suffix.end());
    return ids;
  }

  std::string decode(const std::vector<TokenId>& ids, bool skip_special_tokens) const override {
    std::string bytes;
    for (const TokenId id : ids) {
      if (!skip_special_tokens || !is_special(id)) bytes += token_bytes(id);
    }
    std::string_view text = bytes;
    if (strips_leading_space() && text.starts_with(' ')) text.remove_prefix(1);
    return to_valid_utf8(text);
  }

  std::string token_bytes(TokenId id) const override {
    const AddedToken* added = parts_.added.find(id);
    if (added != nullptr && added->as_spelled) return added->content;
    return parts_.decoder.decode(added != nullptr ? added->content : parts_.vocabulary.text(id));
  }
  std::string token_text(TokenId id) const override {
    const AddedToken* added = parts_.added.find(id);
    return added != nullptr ? added->content : std::string(parts_.vocabulary.text(id));
  }
  TokenId find(std::string_view token_text) const override {
    const TokenId added = parts_.added.find(token_text);
    return added >= 0 ? added : parts_.vocabulary.find(token_text);
  }

  bool is_special(TokenId id) const override {
    const AddedToken* added = parts_.added.find(id);
    return added != nullptr && added->special;
  }
  int32_t size() const override { return std::max(parts_.vocabulary.size(), parts_.added.end_id()); }
  TokenId bos_id() const override { return parts_.bos_id; }
  TokenId eos_id() const override { return parts_.eos_id; }
  std::string bos_token() const override { return token_text(parts_.bos_id); }
  std::string eos_token() const override { return token_text(parts_.eos_id); }
  bool strips_leading_space() const override { return parts_.decoder.strips_leading_space(); }
  std::string description() const override { return parts_.description; }

 private:
  // `text` is valid UTF-8.
  void encode_text(std::string_view text, const EncodeOptions& options, std::vector<TokenId>* ids) const {
    BpeScratch scratch;
    for (const auto& raw : parts_.added.split(text, /*normalized=*/false, options.parse_special)) {
      if (raw.id >= 0) {
        ids->push_back(raw.id);
        continue;
      }
      const std::string normalized = parts_.normalizer.apply(raw.span.of(text));
      for (const auto& segment : parts_.added.split(normalized, /*normalized=*/true, options.parse_special)) {
        const bool at_start = raw.span.begin == 0 && segment.span.begin == 0;
        if (segment.id >= 0) {
          ids->push_back(segment.id);
        } else {
          encode_segment(std::string(segment.span.of(normalized)), at_start, &scratch, ids);
        }
      }
    }
  }

  void encode_segment(std::string text, bool at_start, BpeScratch* scratch, std::vector<TokenId>* ids) const {
    const Pieces pieces = parts_.pre_tokenizer.apply(std::move(text), at_start);
    const auto encode_all = [&](const auto& model) {
      for (const Span& span : pieces.spans)
        model.encode(span.of(pieces.text), parts_.vocabulary, scratch, ids);
    };
    if (const auto* ranked = std::get_if<RankedBpe>(&parts_.model)) encode_all(*ranked);
    if (const auto* scored = std::get_if<ScoredBpe>(&parts_.model)) encode_all(*scored);
  }

  const TokenizerParts parts_;
};

}  // namespace

Result<std::unique_ptr<Tokenizer>> Tokenizer::create(const TokenizerSpec& spec) {
  if (spec.empty())
    return not_found("the model has no tokenizer: neither a tokenizer.json nor a GGUF vocabulary");
  auto parts = spec.tokenizer_json.empty() ? parse_gguf_vocabulary(spec.gguf) : parse_tokenizer_json(spec);
  if (!parts.ok()) return parts.status();
  return std::unique_ptr<Tokenizer>(std::make_unique<PipelineTokenizer>(std::move(*parts)));
}

}  // namespace octet
