// The prompts that Jinja2 makes of Llama 3.1's own template.
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "text/chat_template.h"
#include "text/shared_data_for_test.h"

namespace octet {
namespace {

TEST(ChatTemplateSharedTest, Llama31EqualsJinja2) {
  const std::string cases = shared_path("data/chat-templates/llama-3.1.jsonl");
  OCTET_NEEDS_SHARED(cases);
  auto chat = ChatTemplate::parse(read_file(shared_path("data/tokenizers/llama-3.1/chat_template.jinja")));
  ASSERT_TRUE(chat.ok()) << chat.status().message();
  int n = 0;
  for (const std::string& line : split_text(read_file(cases), "\n")) {
    if (line.empty()) continue;
    auto context = nlohmann::ordered_json::parse(line);
    const auto expected = context["expected"].get<std::string>();
    context.erase("expected");
    const auto text = chat->render(context);
    ASSERT_TRUE(text.ok()) << text.status().message();
    EXPECT_EQ(*text, expected) << "case " << n;
    ++n;
  }
  EXPECT_EQ(n, 80);
}

}  // namespace
}  // namespace octet
