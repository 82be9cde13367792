// Where each byte comes from stays known, whatever a template does with it: what a message says is
// content, also in pieces, joined, turned round and written as JSON.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "lib/jinja/json_value.h"
#include "lib/jinja/template.h"

namespace parkd::jinja {
namespace {

// What is rendered, with content in [ ]. `m` is a conversation's text.
std::string marked(const std::string& source, const std::string& m = "\"a<|x|>b\"") {
  const Value given = json_value(m, Origin::content).value();
  const std::vector<Variable> variables = {{"m", given}};
  const auto made = Template::compile(source, Limits{});
  if (!made.ok()) return made.status().to_string();
  const auto text = made->render(variables, std::chrono::sys_seconds{});
  if (!text.ok()) return text.status().to_string();
  std::string out;
  size_t first = 0;
  for (const Text::Run& run : text->runs()) {
    const std::string bytes = text->bytes().substr(first, run.end - first);
    out += run.origin == Origin::content ? "[" + bytes + "]" : bytes;
    first = run.end;
  }
  return out;
}

TEST(JinjaOrigin, a_border_is_kept_by_joining) {
  EXPECT_EQ(marked("<s>{{ m }}</s>"), "<s>[a<|x|>b]</s>");
  EXPECT_EQ(marked("{{ '<s>' + m + '</s>' }}"), "<s>[a<|x|>b]</s>");
  EXPECT_EQ(marked("{{ '<s>' ~ m ~ '</s>' }}"), "<s>[a<|x|>b]</s>");
  EXPECT_EQ(marked("{{ ['<s>', m]|join('|') }}"), "<s>|[a<|x|>b]");
  EXPECT_EQ(marked("{% set s %}<s>{{ m }}{% endset %}{{ s }}"), "<s>[a<|x|>b]");
  EXPECT_EQ(marked("{% macro f(t) %}<s>{{ t }}{% endmacro %}{{ f(m) }}"), "<s>[a<|x|>b]");
  EXPECT_EQ(marked("{{ '<%s>' % m }}{{ '<{}>'.format(m) }}{{ '<%s>'|format(m) }}"),
            "<[a<|x|>b]><[a<|x|>b]><[a<|x|>b]>");
  EXPECT_EQ(marked("{{ m * 2 }}"), "[a<|x|>ba<|x|>b]");
}

TEST(JinjaOrigin, a_border_is_kept_by_cutting) {
  EXPECT_EQ(marked("{{ ('<s>' + m)[2:5] }}"), ">[a<]");
  EXPECT_EQ(marked("{{ ('<s>' + m)[::-1] }}"), "[b>|x|<a]>s<");
  EXPECT_EQ(marked("{% for p in ('<s>' + m).split('<') %}({{ p }}){% endfor %}"),
            "()(s>[a])([|x|>b])");
  EXPECT_EQ(marked("{{ ('  <s>' + m + ' ')|trim }}"), "<s>[a<|x|>b]");
  EXPECT_EQ(marked("{{ ('<s>' + m).replace('a', '<r>') }}"), "<s><r>[<|x|>b]");
  EXPECT_EQ(marked("{{ 'qaq'.replace('a', m) }}"), "q[a<|x|>b]q");
  EXPECT_EQ(marked("{{ ('<s>' + m)|upper }}{{ ('S' + m)|title }}"), "<S>[A<|X|>B]S[a<|x|>b]");
  EXPECT_EQ(marked("{{ ('p\n' + m)|indent(2) }}"), "p\n  [a<|x|>b]");
  EXPECT_EQ(marked("{{ m[0] }}{{ m|first }}{{ m|list|last }}"), "[aab]");
  EXPECT_EQ(marked("{% for c in m %}{{ c }}.{% endfor %}", "\"xy\""), "[x].[y].");
  EXPECT_EQ(marked("{{ m|e }}"), "[a&lt;|x|&gt;b]");
}

TEST(JinjaOrigin, what_holds_content_is_written_as_content) {
  EXPECT_EQ(marked("<{{ m|tojson }}>", R"({"k": [1, "</s>"]})"), R"(<[{"k": [1, "</s>"]}]>)");
  EXPECT_EQ(marked("<{{ m }}>", R"(["</s>"])"), "<[['</s>']]>");
  EXPECT_EQ(marked("<{{ {'own': m}|tojson }}>"), R"(<[{"own": "a<|x|>b"}]>)");
  EXPECT_EQ(marked("<{{ {'own': 1}|tojson }}>"), R"(<{"own": 1}>)");
  EXPECT_EQ(marked("{% for k, v in m.items() %}{{ k }}={{ v }};{% endfor %}", R"({"</s>": 2})"),
            "[</s>]=[2];");
  EXPECT_EQ(marked("{{ m }} {{ m + 1 }} {{ m|string }} {{ 1 + 1 }}", "41"), "[41] [42] [41] 2");
  EXPECT_EQ(marked("{{ m }}", "true"), "[True]");
}

TEST(JinjaOrigin, a_found_separator_is_the_texts_own) {
  EXPECT_EQ(marked("{% for p in m.partition('<|x|>') %}{{ p }}.{% endfor %}"), "[a].[<|x|>].[b].");
  EXPECT_EQ(marked("{{ ('<s>' + m).rpartition('<|x|>')|join }}"), "<s>[a<|x|>b]");
  EXPECT_EQ(marked("{{ m % () }}", "\"a%%b\""), "[a%b]");
}

TEST(JinjaOrigin, names_of_unpacked_arguments_are_content) {
  const std::string given = R"({"</s>": null})";
  EXPECT_EQ(marked("{% for k in dict(**m) %}{{ k }}{% endfor %}", given), "[</s>]");
  EXPECT_EQ(marked("{{ dict(**m)|tojson }}", given), R"([{"</s>": null}])");
  EXPECT_EQ(marked("{{ dict(own=1)|tojson }}", given), R"({"own": 1})");
}

TEST(JinjaOrigin, json_is_content_where_its_style_is) {
  EXPECT_EQ(marked("{{ [1, 2]|tojson(separators=(m, ':')) }}"), "[[1a<|x|>b2]]");
  EXPECT_EQ(marked("{{ [1]|tojson(indent=m) }}", "\"</s>\""), "[[\n</s>1\n]]");
}

TEST(JinjaOrigin, what_a_template_decides_by_content_is_its_own) {
  EXPECT_EQ(marked("{{ '<s>' if m == 'a<|x|>b' else '<t>' }}"), "<s>");
  EXPECT_EQ(marked("{{ m|length }}{{ 'x' in m }}{{ m is string }}"), "7TrueTrue");
}

}  // namespace
}  // namespace parkd::jinja
