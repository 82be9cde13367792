// Whatever a template or a conversation is, a render ends soon, with a line that names the limit
// or the place.
#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

#include "lib/jinja/json_value.h"
#include "lib/jinja/template.h"

namespace parkd::jinja {
namespace {

constexpr std::chrono::sys_seconds kNow{};

std::string failure_of(const std::string& source, const Limits& limits = {}) {
  const auto made = Template::compile(source, limits);
  if (!made.ok()) return made.status().message();
  const auto text = made->render({}, kNow);
  return text.ok() ? "rendered: " + text->bytes() : text.status().message();
}

std::string repeated(const std::string& text, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += text;
  return out;
}

TEST(JinjaLimits, loops_end_at_the_limit_of_steps) {
  const std::string inner =
      "{% for a in range(100000) %}{% for b in range(100000) %}"
      "{% endfor %}{% endfor %}";
  EXPECT_EQ(failure_of(inner), "the template, line 1: takes more than 20000000 steps");
}

TEST(JinjaLimits, recursion_ends_at_the_limit_of_depth) {
  EXPECT_EQ(failure_of("{% macro m() %}{{ m() }}{% endmacro %}\n{{ m() }}"),
            "the template, line 1: nests computations deeper than 800");
}

TEST(JinjaLimits, expressions_and_blocks_nest_so_deep) {
  const std::string limit = "the template, line 1: nests expressions or blocks deeper than 200";
  EXPECT_EQ(failure_of("{{ " + repeated("(", 5000) + "1" + repeated(")", 5000) + " }}"), limit);
  EXPECT_EQ(failure_of("{{ " + repeated("not ", 5000) + "1 }}"), limit);
  EXPECT_EQ(failure_of("{{ " + repeated("-", 5000) + "1 }}"), limit);
  EXPECT_EQ(failure_of("{{ " + repeated("[", 5000) + repeated("]", 5000) + " }}"), limit);
  EXPECT_EQ(failure_of(repeated("{% if 1 %}", 5000) + repeated("{% endif %}", 5000)), limit);
  EXPECT_EQ(failure_of("{{ a" + repeated("|trim", 5000) + " }}"), limit);
  EXPECT_EQ(failure_of("{{ a" + repeated(".b", 5000) + " }}"), limit);
  EXPECT_EQ(failure_of("{{ 1 if 1 else " + repeated("1 if 1 else ", 5000) + "1 }}"), limit);
  EXPECT_EQ(failure_of("{% for " + repeated("(", 5000) + "a" + repeated(")", 5000) +
                       " in [] %}{% endfor %}"),
            limit);
}

TEST(JinjaLimits, long_chains_of_one_level_are_no_depth) {
  EXPECT_EQ(failure_of("{{ 1" + repeated(" + 1", 5000) + " }}"), "rendered: 5001");
  EXPECT_EQ(failure_of("{{ 0" + repeated(" or 0", 5000) + " }}"), "rendered: 0");
  EXPECT_EQ(failure_of("{% if 0 %}" + repeated("{% elif 0 %}", 5000) + "{% endif %}"),
            "rendered: ");
}

TEST(JinjaLimits, values_are_so_large_and_nest_so_deep) {
  EXPECT_EQ(failure_of("{{ 'ab' * 9999999999 }}"),
            "the template, line 1: makes more than 536870912 bytes of values");
  EXPECT_EQ(failure_of("{% set n = namespace(s='x') %}{% for i in range(99) %}"
                       "{% set n.s = n.s ~ n.s %}{% endfor %}"),
            "the template, line 1: makes more than 536870912 bytes of values");
  EXPECT_EQ(failure_of("{{ [1] * 9999999 }}"),
            "the template, line 1: makes a list or dict of more than 1000000 items");
  EXPECT_EQ(failure_of("{{ range(1000000000) }}"),
            "the template, line 1: makes a range of more than 100000 items");
  EXPECT_EQ(failure_of("{% set n = namespace(l=[]) %}{% for i in range(9999) %}"
                       "{% set n.l = [n.l] %}{% endfor %}"),
            "the template, line 1: nests values deeper than 100");
  EXPECT_EQ(failure_of("{{ 9223372036854775807 + 1 }}"),
            "the template, line 1: reckons beyond the range of a 64-bit integer");
  EXPECT_EQ(failure_of("{{ 9 ** 99 }}"),
            "the template, line 1: reckons beyond the range of a 64-bit integer");
}

TEST(JinjaLimits, methods_and_loops_nest_as_deep_as_lists) {
  const std::string limit = "the template, line 1: nests values deeper than 100";
  EXPECT_EQ(failure_of("{% set n = namespace(l=[]) %}{% for i in range(100000) %}"
                       "{% set n.l = [n.l.count] %}{% endfor %}"),
            limit);
  EXPECT_EQ(failure_of("{% set n = namespace(x=0) %}{% for i in range(100000) %}"
                       "{% for j in [n.x] %}{% set n.x = loop %}{% endfor %}{% endfor %}"),
            limit);
  EXPECT_EQ(failure_of("{% set n = namespace(x=0) %}{% for i in range(100000) %}"
                       "{% for j in [n.x] if true %}{% set n.x = loop %}{% endfor %}{% endfor %}"),
            limit);
}

TEST(JinjaLimits, blocks_of_names_are_computations) {
  EXPECT_EQ(failure_of("{% macro m() %}" + repeated("{% with %}", 190) + "{{ m() }}" +
                       repeated("{% endwith %}", 190) + "{% endmacro %}{{ m() }}"),
            "the template, line 1: nests computations deeper than 800");
}

TEST(JinjaLimits, looking_for_a_name_among_many_takes_steps) {
  std::string source;
  for (int i = 0; i < 10000; ++i) source += "{% set a" + std::to_string(i) + " = 1 %}";
  Limits limits;
  limits.steps_max = 100'000;
  EXPECT_EQ(failure_of(source + "{% for i in range(1000) %}{{ a9999 }}{% endfor %}", limits),
            "the template, line 1: takes more than 100000 steps");
}

TEST(JinjaLimits, origins_of_a_text_are_counted_too) {
  const Value given = json_value("\"x\"", Origin::content).value();
  const std::vector<Variable> variables = {{"m", given}};
  Limits limits;
  limits.made_bytes_max = 10'000'000;
  for (const std::string source :
       {"{{ ('a' + m) * 1000000 }}", "{{ ('b' * 1000000)|replace('b', 'a' + m) }}"}) {
    const auto text = Template::compile(source, limits)->render(variables, kNow);
    EXPECT_EQ(text.ok() ? "rendered" : text.status().message(),
              "the template, line 1: makes more than 10000000 bytes of values");
  }
}

TEST(JinjaLimits, the_output_is_so_long) {
  Limits limits;
  limits.output_bytes_max = 10;
  EXPECT_EQ(failure_of("{{ 'x' * 10 }}", limits), "rendered: xxxxxxxxxx");
  EXPECT_EQ(failure_of("{{ 'x' * 11 }}", limits),
            "the template, line 1: writes more than 10 bytes");
}

TEST(JinjaLimits, a_source_is_so_long) {
  EXPECT_EQ(failure_of(std::string((1 << 20) + 1, 'x')),
            "the template has 1048577 bytes; the limit is 1048576");
}

TEST(JinjaLimits, what_holds_itself_is_given_back) {
  EXPECT_EQ(failure_of("{% set n = namespace() %}{% set n.n = n %}{% set n.l = [n] %}ok"),
            "rendered: ok");
  EXPECT_EQ(failure_of("{% for i in [1, 2] %}{{ loop.changed(loop) }}{% endfor %}"),
            "rendered: TrueFalse");
  EXPECT_EQ(failure_of("{% set n = namespace() %}{% for i in [1] %}{% set n.c = loop.changed %}"
                       "{% set n.l = loop %}{% endfor %}{{ n.c(n.l) }}"),
            "rendered: True");
  EXPECT_EQ(failure_of("{% set n = namespace() %}{% for i in [1] %}{% macro m() %}{{ i }}"
                       "{% endmacro %}{% set n.m = m %}{% endfor %}{{ n.m() }}"),
            "rendered: 1");
}

TEST(JinjaErrors, name_the_line) {
  EXPECT_EQ(failure_of("a\nb\n{{ x.y }}"), "the template, line 3: 'x' is undefined");
  EXPECT_EQ(failure_of("a\n{{ {'a': 1}.b.c }}"),
            "the template, line 2: 'dict object' has no attribute 'b'");
  EXPECT_EQ(failure_of("\n\n{% endfor %}"), "the template, line 3: unknown tag 'endfor'");
  EXPECT_EQ(failure_of("\n{{ 1 | nope }}"), "the template, line 2: no filter is named 'nope'");
  EXPECT_EQ(failure_of("{% if 1 %}\n{{ 1 | nope }}{% endif %}"),
            "the template, line 2: no filter is named 'nope'");
  EXPECT_EQ(failure_of("{% include 'x' %}"),
            "the template, line 1: the tag 'include' is not supported");
  EXPECT_EQ(failure_of("{% for a in b recursive %}{% endfor %}"),
            "the template, line 1: recursive loops are not supported");
  EXPECT_EQ(failure_of("{% if 1 %}\n"),
            "the template, line 1: the template ends where elif or else or endif is missing");
  EXPECT_EQ(failure_of("{{ 'a'.zfill(3) }}"),
            "the template, line 1: the method 'zfill' of str is not supported");
}

TEST(JinjaErrors, what_a_template_raises_is_its_own_text) {
  EXPECT_EQ(failure_of("{{ raise_exception('roles must alternate') }}"),
            "the template refuses: roles must alternate");
  const std::string lengthy = failure_of("{{ raise_exception('ä' * 1000) }}");
  EXPECT_LT(lengthy.size(), 700U);
}

TEST(JinjaTemplate, renders_in_many_threads_at_once) {
  const auto made = Template::compile(
      "{% set n = namespace(a=0) %}{% for m in ms %}{% set n.a = n.a + m %}{% endfor %}{{ n.a }}",
      Limits{});
  ASSERT_TRUE(made.ok());
  const Value given = json_value("[1, 2, 3, 4]", Origin::content).value();
  const std::vector<Variable> variables = {{"ms", given}};
  std::vector<std::thread> threads;
  std::vector<std::string> texts(4);
  for (std::string& text : texts) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) text = made->render(variables, kNow)->bytes();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(texts, std::vector<std::string>(4, "10"));
}

}  // namespace
}  // namespace parkd::jinja
