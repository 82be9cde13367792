// Tools, what is said of calling them, and earlier calls, in the body of a chat.
#include "lib/openai/chat_tools.h"

#include <gtest/gtest.h>

#include <string>

#include "lib/job/bounds.h"
#include "lib/openai/chat_request.h"

namespace parkd {
namespace {

Result<ChatRequest> parse(const std::string& body) {
  return parse_chat_request(body, RequestDefaults{});
}

std::string body_with(const std::string& members) {
  return R"({"messages":[{"role":"user","content":"Hi"}],)" + members + "}";
}

void expect_refused(const std::string& body, const std::string& param, const std::string& has) {
  const auto request = parse(body);
  ASSERT_FALSE(request.ok()) << body;
  EXPECT_EQ(request.status().code(), StatusCode::invalid) << body;
  EXPECT_EQ(request.status().param(), param) << body << "\n" << request.status().message();
  EXPECT_NE(request.status().message().find(has), std::string::npos)
      << body << "\n  says: " << request.status().message();
}

const std::string kTool =
    R"({"type":"function","function":{"name":"get_it","description":"d","parameters":{"z":1.0,"a":{}}}})";

TEST(ChatTools, tools_are_kept_as_they_stand_and_their_names_known) {
  const auto request = parse(body_with(R"("tools":[)" + kTool + R"(],"tool_choice":"auto")"));
  ASSERT_TRUE(request.ok()) << request.status().to_string();
  EXPECT_EQ(request->tool_names, std::vector<std::string>{"get_it"});
  EXPECT_TRUE(request->parallel_tool_calls);
  const jinja::Value& tools = request->template_options.tools;
  ASSERT_TRUE(tools.is_sequence());
  EXPECT_EQ(tools.origin(), jinja::Origin::content) << "no text of a schema is a control token";
  const auto& function = tools.as_sequence().items.at(0).as_dict().entries.at(1).second.as_dict();
  const auto& schema = function.entries.at(2).second.as_dict().entries;
  EXPECT_EQ(schema.at(0).first.as_bytes(), "z") << "in the order of the body";
  EXPECT_TRUE(schema.at(0).second.is(jinja::Type::real)) << "1.0 is no 1";
}

TEST(ChatTools, a_tool_may_be_a_name_alone) {
  for (const char* tool :
       {R"({"type":"function","function":{"name":"f"}})",
        R"({"type":"function","function":{"name":"a-B_9","description":null,"parameters":null,
            "strict":false,"return":{"type":"string"}}})"}) {
    EXPECT_TRUE(parse(body_with(R"("tools":[)" + std::string(tool) + "]")).ok()) << tool;
  }
}

TEST(ChatTools, tools_that_must_not_be_called_are_not_the_templates) {
  const auto request = parse(body_with(R"("tools":[)" + kTool + R"(],"tool_choice":"none")"));
  ASSERT_TRUE(request.ok()) << request.status().to_string();
  EXPECT_TRUE(request->template_options.tools.is_none());
  EXPECT_TRUE(request->tool_names.empty());
  EXPECT_TRUE(
      parse(body_with(R"("tools":[],"tool_choice":"none")"))->template_options.tools.is_none());
}

TEST(ChatTools, one_call_at_most_may_be_asked_for) {
  EXPECT_FALSE(parse(body_with(R"("tools":[)" + kTool + R"(],"parallel_tool_calls":false)"))
                   ->parallel_tool_calls);
  expect_refused(body_with(R"("parallel_tool_calls":1)"), "parallel_tool_calls", "true or false");
}

TEST(ChatTools, a_call_cannot_be_forced_yet) {
  const std::string tools = R"("tools":[)" + kTool + R"(],)";
  expect_refused(body_with(tools + R"("tool_choice":"required")"), "tool_choice",
                 "\"required\" is not supported yet");
  expect_refused(
      body_with(tools + R"("tool_choice":{"type":"function","function":{"name":"get_it"}})"),
      "tool_choice", "\"function\" is not supported yet");
  expect_refused(body_with(tools + R"("tool_choice":{"type":"allowed_tools"})"), "tool_choice",
                 "\"allowed_tools\" is not supported yet");
  expect_refused(body_with(tools + R"("tool_choice":"any")"), "tool_choice",
                 "\"auto\" or \"none\"");
  expect_refused(body_with(R"("tool_choice":"auto")"), "tool_choice", "there are no tools");
}

TEST(ChatTools, wrong_tools_are_named_by_their_place) {
  const auto tool = [](const std::string& function) {
    return body_with(R"("tools":[{"type":"function","function":)" + function + "}]");
  };
  expect_refused(body_with(R"("tools":{})"), "tools", "an array of tools");
  expect_refused(body_with(R"("tools":[7])"), "tools[0]", "an object");
  expect_refused(body_with(R"("tools":[{}])"), "tools[0].type", "missing");
  expect_refused(body_with(R"("tools":[{"type":"custom","custom":{}}])"), "tools[0].type",
                 "\"custom\" is not supported yet");
  expect_refused(body_with(R"("tools":[{"type":"function"}])"), "tools[0].function", "missing");
  expect_refused(tool("[]"), "tools[0].function", "an object");
  expect_refused(tool("{}"), "tools[0].function.name", "missing");
  expect_refused(tool(R"({"name":""})"), "tools[0].function.name", "1 to 64");
  expect_refused(tool(R"({"name":"a b"})"), "tools[0].function.name", "1 to 64");
  expect_refused(tool(R"({"name":")" + std::string(65, 'a') + R"("})"), "tools[0].function.name",
                 "1 to 64");
  expect_refused(tool(R"({"name":"f","description":1})"), "tools[0].function.description",
                 "a string");
  expect_refused(tool(R"({"name":"f","parameters":[]})"), "tools[0].function.parameters",
                 "JSON schema");
  expect_refused(tool(R"({"name":"f","strict":true})"), "tools[0].function.strict",
                 "not supported yet");
  expect_refused(tool(R"({"name":"f","input":{}})"), "tools[0].function.input",
                 "not a known field");
  expect_refused(body_with(R"("tools":[)" + kTool + "," + kTool + "]"), "tools[1].function.name",
                 "twice");
}

TEST(ChatTools, so_many_tools_of_so_many_bytes_and_no_more) {
  const auto tools = [](size_t n, size_t n_bytes) {
    std::string list;
    for (size_t i = 0; i < n; ++i) {
      list += (i == 0 ? "" : ",") + std::string(R"({"type":"function","function":{"name":"f)") +
              std::to_string(i) + R"("}})";
    }
    list = "[" + list + "]";
    if (n_bytes > list.size()) list.insert(1, std::string(n_bytes - list.size(), ' '));
    return body_with(R"("tools":)" + list);
  };
  EXPECT_TRUE(parse(tools(kToolsMax, 0)).ok());
  expect_refused(tools(kToolsMax + 1, 0), "tools", "has 129 entries; the limit is 128");
  EXPECT_TRUE(parse(tools(1, kToolsBytesMax)).ok());
  expect_refused(tools(1, kToolsBytesMax + 1), "tools", "has 262145 bytes; the limit is 262144");
}

// --- earlier calls

std::string called(const std::string& call) {
  return R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":null,
             "tool_calls":[)" +
         call + R"(]},{"role":"tool","tool_call_id":"c","content":"b"}]})";
}

TEST(ChatTools, an_earlier_call_and_its_result_are_messages) {
  const auto request = parse(called(
      R"({"id":"c","type":"function","index":0,"function":{"name":"f","arguments":"{\"a\": 1.0}"}})"));
  ASSERT_TRUE(request.ok()) << request.status().to_string();
  const ChatMessage& answer = request->messages[1];
  EXPECT_FALSE(answer.has_content);
  ASSERT_TRUE(answer.tool_calls.is_sequence());
  EXPECT_EQ(answer.tool_calls.origin(), jinja::Origin::content);
  EXPECT_EQ(request->messages[2].role, "tool");
  EXPECT_EQ(request->messages[2].more.at(0),
            (std::pair<std::string, std::string>{"tool_call_id", "c"}));
}

TEST(ChatTools, wrong_calls_are_named_by_their_place) {
  const std::string at = "messages[1].tool_calls[0]";
  const auto with = [](const std::string& name, const std::string& arguments) {
    return called(R"({"id":"c","type":"function","function":{"name":)" + name + R"(,"arguments":)" +
                  arguments + "}}");
  };
  expect_refused(called("7"), at, "an object");
  expect_refused(called(R"({"id":"c"})"), at + ".type", "missing");
  expect_refused(called(R"({"type":"function","function":{"name":"f","arguments":""}})"),
                 at + ".id", "missing");
  expect_refused(called(R"({"id":"c","type":"function"})"), at + ".function", "missing");
  expect_refused(with("7", "\"\""), at + ".function.name", "1 to 64");
  expect_refused(with("\"f\"", "{}"), at + ".function.arguments", "a string that holds");
  expect_refused(with("\"f\"", "\"[]\""), at + ".function.arguments", "a string that holds");
  expect_refused(with("\"f\"", "\"{\""), at + ".function.arguments", "is not JSON");
  EXPECT_TRUE(parse(with("\"f\"", "\"\"")).ok()) << "no arguments";
  expect_refused(R"({"messages":[{"role":"user","content":"a","tool_calls":[
                     {"id":"c","type":"function","function":{"name":"f","arguments":""}}]}]})",
                 "messages[0].tool_calls", "only an assistant calls");
}

TEST(ChatTools, calls_of_all_messages_have_so_many_bytes_and_no_more) {
  const auto call = [](size_t n_bytes) {
    const std::string head =
        R"([{"id":"c","type":"function","function":{"name":"f","arguments":"{\"a\":\")";
    const std::string tail = R"(\"}"}}])";
    return R"({"role":"assistant","tool_calls":)" + head +
           std::string(n_bytes - head.size() - tail.size(), 'y') + tail + "}";
  };
  const size_t half = kToolCallsBytesMax / 2;
  const auto both = [&](size_t second) {
    return R"({"messages":[)" + call(half) + "," + call(second) + "]}";
  };
  EXPECT_TRUE(parse(both(half)).ok());
  expect_refused(both(half + 1), "messages[1].tool_calls", "1048577 bytes; the limit is 1048576");
}

}  // namespace
}  // namespace parkd
