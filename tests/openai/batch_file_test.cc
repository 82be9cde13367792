#include "lib/openai/batch_file.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "lib/job/bounds.h"

namespace parkd {
namespace {

using namespace std::string_literals;

constexpr size_t kBodyBytesMax = 200;

BatchFileRules rules() {
  return {.endpoint = "/v1/chat/completions", .lines_max = 1000, .body_bytes_max = kBodyBytesMax};
}

BatchFileFindings check(std::string_view file, const BatchFileRules& by = rules()) {
  BatchFileCheck check(by);
  EXPECT_TRUE(check.feed(file).ok());
  return check.finish().value();
}

std::string line_of(const std::string& custom_id, const std::string& model = "m") {
  return R"({"custom_id":")" + custom_id +
         R"(","method":"POST","url":"/v1/chat/completions","body":{"model":")" + model +
         R"(","messages":[]}})";
}

// A good line with one text in place of another.
std::string line_with(const std::string& old_text, const std::string& new_text) {
  std::string line = line_of("a");
  return line.replace(line.find(old_text), old_text.size(), new_text);
}

TEST(BatchFile, one_without_fault_has_a_model_and_so_many_lines) {
  const BatchFileFindings found =
      check("\xEF\xBB\xBF" + line_of("a") + "\n\n \r\n" + line_of("b") + "\r\n" + line_of("c"));
  EXPECT_EQ(found.faults, std::vector<BatchFault>{});
  EXPECT_EQ(found.model, "m");
  EXPECT_EQ(found.n_lines, 3);
}

TEST(BatchFile, the_order_of_members_and_blanks_between_them_are_free) {
  EXPECT_TRUE(check("\t{ \"body\" : {\"model\":\"m\"} , \"url\":\"/v1/chat/completions\", "
                    "\"method\":\"POST\",\"c\\u0075stom_id\":\"a\"} ")
                  .faults.empty());
}

struct OneFault {
  std::string line;
  std::string code;
  std::string param;
  std::string message;  // what it begins with
};

TEST(BatchFile, a_lines_fault_says_code_field_value_and_way_out) {
  const std::string form = R"(; a line is {"custom_id": ..., "method": "POST", "url": ..., )"
                           R"("body": {...}})";
  const std::string long_text(kTextBytesMax + 1, 'x');
  const std::string too_long = " has 513 bytes; the limit is 512";
  const OneFault faults[] = {
      {"{", "invalid_json_line", "", "the line is not JSON, byte 2: it ends in the middle"},
      {line_with("POST", "P\xE9"), "invalid_json_line", "",
       "the line is not JSON, byte 29 (0xE9) is not UTF-8; is it Latin-1?"},
      {line_with("\"a\"", R"("a\u0000")"), "invalid_json_line", "",
       "the line cannot be taken, byte 16: \\u0000 in a string, which is not text"},
      {line_with(R"("messages":[])", R"("model":"m")"), "invalid_json_line", "model",
       "the line cannot be taken, byte 83: \"model\" is given twice in one object"},
      {"[" + line_of("a") + "]", "invalid_json_line", "",
       "the line is a JSON array; one line is one object (jq -c '.[]')"},
      {"17", "invalid_json_line", "", "the line is 17" + form},
      {line_with(R"("custom_id":"a",)", ""), "missing_required_parameter", "custom_id",
       "custom_id is missing" + form},
      {line_with("\"a\"", "null"), "missing_required_parameter", "custom_id",
       "custom_id is missing" + form},
      {line_with("\"a\"", "17"), "invalid_value", "custom_id",
       "custom_id is 17; it must be a string, \"17\""},
      {line_with("\"a\"", "{}"), "invalid_value", "custom_id",
       "custom_id is {}; it must be a string"},
      {line_with("\"a\"", "\"\""), "invalid_value", "custom_id", "custom_id is empty"},
      {line_with("\"a\"", "\"" + long_text + "\""), "invalid_value", "custom_id",
       "custom_id" + too_long},
      {line_with(R"("method":"POST",)", ""), "missing_required_parameter", "method",
       "method is missing"},
      {line_with("POST", "post"), "invalid_value", "method",
       R"(method is "post"; it must be "POST")"},
      {line_with(R"("POST")", "[]"), "invalid_value", "method",
       "method is []; it must be a string"},
      {line_with(R"("url":"/v1/chat/completions",)", ""), "missing_required_parameter", "url",
       "url is missing"},
      {line_with("/v1/chat", "/v1"), "url_mismatch", "url",
       R"(url is "/v1/completions"; the batch's endpoint is "/v1/chat/completions")"},
      {line_with(R"("/v1/chat/completions")", "1"), "invalid_value", "url", "url is 1; it must be"},
      {R"({"custom_id":"a","method":"POST","url":"/v1/chat/completions"})",
       "missing_required_parameter", "body", "body is missing"},
      {line_with(R"({"model":"m","messages":[]})", R"("{}")"), "invalid_value", "body",
       R"(body is "{}"; it must be an OpenAI request body (a JSON object, not a text that holds)"},
      {line_with(R"({"model":"m","messages":[]})", "[]"), "invalid_value", "body",
       "body is []; it must be an OpenAI request body (a JSON object)"},
      {line_with(R"("model":"m",)", ""), "missing_required_parameter", "body.model",
       "body.model is missing"},
      {line_with(R"("m")", "4"), "invalid_value", "body.model", "body.model is 4; it must be"},
      {line_with(R"("m")", R"("")"), "invalid_value", "body.model", "body.model is empty"},
      {line_with("POST\"", "POST\",\"priority\":null"), "unknown_parameter", "priority",
       "\"priority\" is not a member of a line" + form},
      {line_with("[]", "\"" + std::string(kBodyBytesMax, 'x') + "\""), "line_too_long", "body",
       "body has 227 bytes; the limit is 200"},
      {"\xEF\xBB\xBF" + line_with("[]", "\"" + std::string(kBodyBytesMax, 'x') + "\""),
       "line_too_long", "body", "body has 227 bytes; the limit is 200"},
      {line_of("a") + std::string(16384 + kBodyBytesMax, ' '), "line_too_long", "",
       "the line has 16681 bytes; the limit is 16584, 200 of them for its body"},
  };
  for (const OneFault& expected : faults) {
    const BatchFileFindings found = check("\n" + expected.line);
    ASSERT_EQ(found.faults.size(), 1u) << expected.line;
    const BatchFault& fault = found.faults[0];
    EXPECT_EQ(fault.code, expected.code) << expected.line << "\n  says: " << fault.message;
    EXPECT_EQ(fault.param, expected.param) << expected.line;
    EXPECT_EQ(fault.line, 2) << expected.line;
    EXPECT_EQ(fault.message.rfind(expected.message, 0), 0u)
        << expected.line << "\n  says: " << fault.message;
  }
}

TEST(BatchFile, what_is_at_a_limit_has_no_fault) {
  const std::string longest(kTextBytesMax, 'x');
  EXPECT_TRUE(check(line_of(longest)).faults.empty());
  const std::string body_with = R"({"model":"m","messages":""})";
  const std::string filled =
      line_with("[]", "\"" + std::string(kBodyBytesMax - body_with.size(), 'x') + "\"");
  EXPECT_TRUE(check(filled).faults.empty());
  EXPECT_TRUE(check(filled + std::string(rules().line_bytes_max() - filled.size(), ' ') + "\r\n")
                  .faults.empty());
}

TEST(BatchFile, a_fault_inside_of_a_body_is_not_the_files) {
  EXPECT_TRUE(check(line_with(R"("messages":[])", R"("n":"many","stream":true,"x":[[[]]])"))
                  .faults.empty());
}

TEST(BatchFile, a_custom_id_that_is_given_again_names_the_line_that_had_it) {
  std::string file;
  for (int i = 1; i <= 5000; ++i) file += line_of(std::to_string(i)) + "\n";
  file += line_of("1") + "\n" + line_with("\"a\"", R"("\u0037\u0036\u0038")") + "\n" +
          line_of("5000") + "\n";
  BatchFileRules by = rules();
  by.lines_max = 6000;
  const BatchFileFindings found = check(file, by);
  EXPECT_EQ(found.faults,
            (std::vector<BatchFault>{
                {"duplicate_custom_id",
                 R"(custom_id "1" stands in line 1 already; each line's must be its own)",
                 "custom_id", 5001},
                {"duplicate_custom_id",
                 R"(custom_id "768" stands in line 768 already; each line's must be its own)",
                 "custom_id", 5002},
                {"duplicate_custom_id",
                 R"(custom_id "5000" stands in line 5000 already; each line's must be its own)",
                 "custom_id", 5003}}));
}

TEST(BatchFile, a_custom_id_counts_though_its_line_has_another_fault) {
  const BatchFileFindings found = check(line_with("POST", "GET") + "\n" + line_of("a"));
  ASSERT_EQ(found.faults.size(), 2u);
  EXPECT_EQ(found.faults[0].code, "invalid_value");
  EXPECT_EQ(found.faults[1].code, "duplicate_custom_id");
}

TEST(BatchFile, the_first_model_is_that_of_all_lines) {
  const BatchFileFindings found =
      check(line_of("a", "m") + "\n" + line_of("b", "n") + "\n" + line_of("c", "m"));
  EXPECT_EQ(found.faults,
            (std::vector<BatchFault>{
                {"model_mismatch",
                 R"(body.model is "n", and line 1 has "m"; all lines must be for one model)",
                 "body.model", 2}}));
}

TEST(BatchFile, a_file_without_requests_is_refused_as_a_whole) {
  for (const std::string file : {"", "\n", "\xEF\xBB\xBF", " \n\t\r\n"}) {
    const BatchFileFindings found = check(file);
    ASSERT_EQ(found.faults.size(), 1u);
    EXPECT_EQ(found.faults[0].code, "empty_file");
    EXPECT_EQ(found.faults[0].line, 0);
    EXPECT_EQ(found.faults[0].message.rfind("the file has no request; a line is {", 0), 0u);
  }
}

TEST(BatchFile, one_request_more_than_the_limit_ends_the_check) {
  BatchFileRules by = rules();
  by.lines_max = 2;
  const std::string two = line_of("a") + "\n\n" + line_of("b") + "\n";
  EXPECT_TRUE(check(two + "\n \n", by).faults.empty());
  BatchFileCheck check(by);
  ASSERT_TRUE(check.feed(two + line_of("c") + "\n").ok());
  EXPECT_TRUE(check.is_done());
  ASSERT_TRUE(check.feed("{\n").ok());
  EXPECT_EQ(
      check.finish().value().faults,
      (std::vector<BatchFault>{
          {"too_many_tasks", "this is request 3 of the file; the limit of a batch is 2", "", 4}}));
}

TEST(BatchFile, the_check_goes_no_further_than_a_hundred_faults) {
  std::string file;
  for (size_t i = 1; i < kBatchFaultsMax; ++i) file += "{\n";
  EXPECT_EQ(check(file).faults.size(), kBatchFaultsMax - 1);
  EXPECT_EQ(check(file).faults.back().message.find("no further"), std::string::npos);
  BatchFileCheck check(rules());
  ASSERT_TRUE(check.feed(file).ok());
  EXPECT_FALSE(check.is_done());
  ASSERT_TRUE(check.feed("{\n{\n").ok());
  EXPECT_TRUE(check.is_done());
  const BatchFileFindings found = check.finish().value();
  ASSERT_EQ(found.faults.size(), kBatchFaultsMax);
  const std::string& last = found.faults.back().message;
  EXPECT_NE(last.find("it ends in the middle of a value"), std::string::npos) << last;
  EXPECT_NE(last.find(" (the check went no further: 100 faults were found)"), std::string::npos);
}

TEST(BatchFile, memory_that_is_not_granted_is_no_fault_of_the_file) {
  BatchFileRules by = rules();
  by.grow = [](size_t) { return unavailable("parkd has no memory"); };
  BatchFileCheck check(by);
  const Status refused = check.feed(line_of("a") + "\n" + line_of("b") + "\n");
  EXPECT_EQ(refused.code(), StatusCode::unavailable);
  EXPECT_EQ(read_line_request(line_of("a"), by.grow).status().code(), StatusCode::unavailable);
}

TEST(BatchFile, a_line_that_passed_is_read_again_with_its_body_as_it_stands) {
  const std::string body = "{ \"model\" : \"m\\u00e9\",\t\"seed\":1e2, \"u\":\"\\/\" }";
  const auto request = read_line_request(
      "\xEF\xBB\xBF {\"b\\u006fdy\" :" + body +
          R"( ,"custom_id":"\u00e9\"","method":"POST","url":"/v1/chat/completions"} )",
      {});
  ASSERT_TRUE(request.ok()) << request.status().to_string();
  EXPECT_EQ(request->custom_id, "\xC3\xA9\"");
  EXPECT_EQ(request->model, "m\xC3\xA9");
  EXPECT_EQ(request->body, body);
}

TEST(BatchFile, a_line_that_did_not_pass_is_damage) {
  for (const std::string& line :
       {""s, "{"s, "[]"s, line_with("\"a\"", "1"), line_with("custom_id", "id"),
        line_with("body", "x"), line_with("model", "x"), line_with("\"m\"", "1")}) {
    const auto request = read_line_request(line, {});
    ASSERT_FALSE(request.ok()) << line;
    EXPECT_EQ(request.status().code(), StatusCode::corrupt) << line;
  }
}

TEST(BatchFile, a_limit_on_tokens_takes_the_place_of_the_bodys_own) {
  EXPECT_EQ(with_max_tokens(R"({"model":"m","max_tokens":5,"seed":1.0e0})", "max_tokens", 7),
            R"({"model":"m","max_tokens":7,"seed":1.0e0})");
  EXPECT_EQ(with_max_tokens(R"({"max_completion_tokens":5,"u":"\u00e9"})", "max_tokens", 7),
            R"({"max_completion_tokens":7,"u":"\u00e9"})");
  EXPECT_EQ(with_max_tokens(R"({"max_tokens":null,"max_completion_tokens":5})", "max_tokens", 7),
            R"({"max_tokens":7,"max_completion_tokens":7})");
  EXPECT_EQ(with_max_tokens(R"({"model":"m"})", "max_tokens", 7),
            R"({"model":"m","max_tokens":7})");
  EXPECT_EQ(with_max_tokens("{}", "max_tokens", 7), R"({"max_tokens":7})");
  EXPECT_EQ(with_max_tokens(R"({"input":"a","max_output_tokens":5})", "max_output_tokens", 7),
            R"({"input":"a","max_output_tokens":7})");
  EXPECT_EQ(with_max_tokens(R"({"input":"a"})", "max_output_tokens", 7),
            R"({"input":"a","max_output_tokens":7})");
}

}  // namespace
}  // namespace parkd
