#include "text/chat_template.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace octet {
namespace {

using Json = nlohmann::ordered_json;

Status parse_error(const std::string& source) {
  return ChatTemplate::parse(source).status();
}

Status render_error(const std::string& source, const Json& context = Json::object()) {
  const auto chat = ChatTemplate::parse(source);
  EXPECT_TRUE(chat.ok()) << chat.status().message();
  return chat->render(context).status();
}

void expect_says(const Status& status, StatusCode code, const std::string& part) {
  EXPECT_EQ(status.code(), code) << status.message();
  EXPECT_NE(status.message().find(part), std::string::npos) << status.message();
}

TEST(ChatTemplateTest, WhatIsNotThereIsAnErrorAtLoad) {
  const auto refused = [](const std::string& source, const std::string& what) {
    expect_says(parse_error("\n" + source), StatusCode::kUnsupported, "chat template, line 2: " + what);
  };
  refused("{{ x | xmlattr }}", "the filter 'xmlattr'");
  refused("{{ x is weird }}", "the test 'weird'");
  refused("{{ x.encode() }}", "the method 'encode'");
  refused("{% include 'a' %}", "the tag 'include'");
  refused("{% for x in y recursive %}{% endfor %}", "a recursive loop");
  refused("{{ f(*args) }}", "'*' in a call");
  refused("{{ cycler(1) }}", "'cycler'");
}

TEST(ChatTemplateTest, SyntaxErrorsNameTheLine) {
  const auto wrong = [](const std::string& source, const std::string& what) {
    expect_says(parse_error("a\nb\n" + source), StatusCode::kInvalidArgument,
                "chat template, line 3: " + what);
  };
  wrong("{{ x", "a {{ is not closed");
  wrong("{{ x ]", "unexpected ']'");
  wrong("{% if x %}", "expected {% endif %}, found the end of the template");
  wrong("{% nonsense %}", "unexpected tag 'nonsense'");
  wrong("{% endif %}", "unexpected tag 'endif'");
  wrong("{{ 1 + }}", "expected an expression, found '}}'");
  wrong("{{ 'a }}", "a string is not closed");
  wrong("{% break %}", "'break' outside of a loop");
  wrong("{{ 99999999999999999999 }}", "the integer is out of range");
  EXPECT_EQ(parse_error("\xFF").code(), StatusCode::kInvalidArgument);
}

TEST(ChatTemplateTest, RunTimeErrorsNameTheLineAndTheReason) {
  expect_says(render_error("\n{{ missing.x }}"), StatusCode::kInvalidArgument,
              "line 2: 'missing' is undefined");
  expect_says(render_error("{{ m.a.b }}", {{"m", Json::object()}}), StatusCode::kInvalidArgument,
              "has no attribute 'a'");
  expect_says(render_error("{{ 1 + 'a' }}"), StatusCode::kInvalidArgument, "'int' and 'str'");
  EXPECT_EQ(render_error("{{ raise_exception('roles must alternate') }}").message(), "roles must alternate");
}

TEST(ChatTemplateTest, HostileTemplatesEndInAnError) {
  const auto ends = [](const std::string& source) { EXPECT_FALSE(render_error(source).ok()) << source; };
  ends("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}");
  ends("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}");
  ends("{{ 'x' * 9999999999 }}");
  ends("{{ [1] * 9999999999 }}");
  ends("{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}");
  ends(
      "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ "
      "ns.x }}");
  ends("{% set ns = namespace(x=[1]) %}{% for i in range(999) %}{% set ns.x = [ns.x] %}{% endfor %}");
  ends("{{ ('a' * 99999) | replace('a', 'b' * 99999) }}");
  ends("{{ 'x' | center(99999999999) }}");
  const auto refused = [](const std::string& source) {
    EXPECT_FALSE(parse_error(source).ok()) << source.substr(0, 9);
  };
  const auto repeat = [](const std::string& text, int n) {
    std::string out;
    for (int i = 0; i < n; ++i) out += text;
    return out;
  };
  refused("{{ " + repeat("(", 9999) + "1" + repeat(")", 9999) + " }}");
  refused("{{ " + repeat("[", 9999) + " }}");
  refused("{{ " + repeat("-", 9999) + "1 }}");
  refused("{{ " + repeat("not ", 9999) + "1 }}");
  refused("{{ 1" + repeat(" + 1", 9999) + " }}");
  refused("{{ x" + repeat(".y", 9999) + " }}");
  refused("{{ x" + repeat("|upper", 9999) + " }}");
  refused(repeat("{% if x %}", 9999));
}

// Namespaces are all that can refer to themselves; neither leaks nor recursion may come of it.
TEST(ChatTemplateTest, NamespacesMayHoldThemselves) {
  const auto chat = ChatTemplate::parse(
      "{% set ns = namespace() %}{% set ns.me = ns %}{% set ns.l = [ns, ns] %}{{ ns.me.me.l | length }}"
      "{% for i in range(5000) %}{% set ns.next = namespace(last=ns.next or 0) %}{% endfor %}");
  ASSERT_TRUE(chat.ok()) << chat.status().message();
  const auto text = chat->render(Json::object());
  ASSERT_TRUE(text.ok()) << text.status().message();
  EXPECT_EQ(*text, "2");
}

// Work is counted as it is done: what a template asks at every message may not add up to a refusal.
TEST(ChatTemplateTest, LongConversationsRender) {
  const auto chat = ChatTemplate::parse(
      "{% for m in messages %}{% set i = (messages|length - 1) - loop.index0 %}{% if messages[i].role == "
      "'user' and "
      "messages is iterable and (messages | first).role is string %}{{ m.content | trim }}{% endif %}{% "
      "endfor %}");
  ASSERT_TRUE(chat.ok()) << chat.status().message();
  Json messages = Json::array();
  for (int i = 0; i < 20000; ++i)
    messages.push_back({{"role", "user"}, {"content", " a message of some length "}});
  const auto text = chat->render({{"messages", messages}});
  ASSERT_TRUE(text.ok()) << text.status().message();
  EXPECT_EQ(text->size(), 20000u * 24);
}

TEST(ChatTemplateTest, MacrosEndWithTheirBlock) {
  expect_says(
      render_error(
          "{% set ns = namespace() %}{% for i in [1] %}{% macro m() %}x{% endmacro %}{% set ns.m = m %}"
          "{% endfor %}{% set m = ns.m %}{{ m() }}"),
      StatusCode::kInvalidArgument, "after the block that defines it");
}

TEST(ChatTemplateTest, TheContextIsData) {
  const auto chat = ChatTemplate::parse("{{ m.content }}{{ strftime_now('%Y') | length }}");
  ASSERT_TRUE(chat.ok());
  EXPECT_EQ(*chat->render({{"m", {{"content", "{{ raise_exception('x') }}"}}}}),
            "{{ raise_exception('x') }}4");
  EXPECT_EQ(*chat->render({{"m", {{"content", "\xFF"}}}}),
            "\xEF\xBF\xBD"
            "4");
  EXPECT_FALSE(chat->render(Json::array()).ok());
}

}  // namespace
}  // namespace octet
