// jobctl batch run and files that are not its own: nothing of them is changed, whatever their path;
// what runs again, and what is read from a pipe.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/e2e/batch_run.h"

namespace parkd::testing {
namespace {

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

class BatchRunFiles : public BatchRun {
 protected:
  std::string path(const std::string& name) const { return daemon_.directory() + "/" + name; }
  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path(name)) << text;
  }
  JobctlResult run_into(const std::string& output, std::vector<std::string> more = {}) const {
    std::vector<std::string> words = {"batch", "run", in(), "-o", output};
    words.insert(words.end(), more.begin(), more.end());
    return run_jobctl(daemon_, words);
  }
  // Refused with rc 2 and the file's name, and not a byte of it changed.
  void expect_untouched(const std::string& output,
                        const std::vector<std::string>& more = {}) const {
    const std::string before = text_of(output);
    const JobctlResult result = run_into(output, more);
    EXPECT_EQ(result.exit_code, 2) << result.err;
    EXPECT_TRUE(has(result.err, output)) << result.err;
    EXPECT_EQ(text_of(output), before) << result.err;
  }
  void break_model() const { write("tiny.gguf", "this is no model"); }
};

TEST_F(BatchRunFiles, the_input_is_not_written_to_by_whatever_path) {
  write_input(batch_line("a", 3));
  ASSERT_TRUE(daemon_.start());
  ASSERT_EQ(::link(in().c_str(), path("hard").c_str()), 0);
  ASSERT_EQ(::symlink(in().c_str(), path("soft").c_str()), 0);
  for (const std::string& name :
       {in(), path("hard"), path("soft"),
        path("../") + daemon_.directory().substr(daemon_.directory().rfind('/') + 1) +
            "/in.jsonl"}) {
    expect_untouched(name);
    EXPECT_NE(::access((name + ".parkd-run").c_str(), F_OK), 0);
  }
  // Nor by standard input.
  const JobctlResult result = run_jobctl(daemon_, {"batch", "run", "/dev/stdin", "-o", in()});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_EQ(text_of(in()), batch_line("a", 3));
}

TEST_F(BatchRunFiles, a_file_that_no_run_made_is_not_written_to) {
  write_input(batch_line("a", 3));
  ASSERT_TRUE(daemon_.start());
  write("notes.txt", "no newline at its end");
  expect_untouched(path("notes.txt"));
  write("other.jsonl",
        "{\"id\":\"batch_req_1\",\"custom_id\":\"a\",\"response\":null,\"error\":null}\n");
  expect_untouched(path("other.jsonl"));  // a result line, of somebody else's run
  ASSERT_EQ(::mkfifo(path("fifo").c_str(), 0600), 0);
  const JobctlResult fifo = run_into(path("fifo"));
  EXPECT_EQ(fifo.exit_code, 2);
  EXPECT_TRUE(has(fifo.err, "is not a regular file")) << fifo.err;

  // A file in the place of a run's own, and bytes behind its last line.
  ASSERT_EQ(run().exit_code, 0);
  const std::string mine = output();
  std::ofstream(out(), std::ios::trunc) << "something else\n";
  expect_untouched(out());
  std::ofstream(out(), std::ios::trunc) << mine << "a note";
  expect_untouched(out());
  std::ofstream(out(), std::ios::trunc) << mine;
  EXPECT_EQ(run().exit_code, 0);
  EXPECT_EQ(output(), mine);
  // A mark that is something else's is not written over.
  write("new.jsonl.parkd-run", "mine\n");
  EXPECT_EQ(run_into(path("new.jsonl")).exit_code, 2);
  EXPECT_EQ(text_of(path("new.jsonl.parkd-run")), "mine\n");
  EXPECT_NE(::access(path("new.jsonl").c_str(), F_OK), 0);
}

TEST_F(BatchRunFiles, an_empty_file_may_be_the_output_and_a_run_removed_begins_anew) {
  write_input(batch_line("a", 3));
  ASSERT_TRUE(daemon_.start());
  write("out.jsonl", "");
  EXPECT_EQ(run().exit_code, 0);
  EXPECT_EQ(results().size(), 1u);
  const std::string first = text_at(results().at("a"), "id");
  ASSERT_EQ(::unlink(out().c_str()), 0);
  EXPECT_EQ(run().exit_code, 0);
  EXPECT_NE(text_at(results().at("a"), "id"), first);
}

TEST_F(BatchRunFiles, where_no_line_can_run_nothing_is_submitted_and_nothing_is_left) {
  write_input(batch_line("a", 3) + batch_line("b", 3));
  break_model();
  ASSERT_TRUE(daemon_.start());
  const JobctlResult result = run();
  EXPECT_EQ(result.exit_code, 4) << result.err;
  EXPECT_TRUE(has(result.err, "no line can run")) << result.err;
  EXPECT_TRUE(has(result.err, "tiny.gguf")) << "the model's own message: " << result.err;
  EXPECT_NE(::access(out().c_str(), F_OK), 0);
  EXPECT_NE(::access((out() + ".parkd-run").c_str(), F_OK), 0);
  EXPECT_EQ(run({"--model", "nobody"}).exit_code, 4);
}

TEST_F(BatchRunFiles, failed_lines_run_again_with_the_text_they_have_now) {
  json::object bad = json::parse(batch_line("bad", 3)).as_object();
  bad["body"].as_object()["temperature"] = 9;
  json::object late = json::parse(batch_line("late", 3)).as_object();
  late["body"].as_object()["model"] = "nobody";
  const auto input = [&] {
    return batch_line("a", 3) + json::serialize(bad) + "\n" + json::serialize(late) + "\n";
  };
  write_input(input());
  ASSERT_TRUE(daemon_.start());
  const JobctlResult first = run();
  EXPECT_EQ(first.exit_code, 1) << first.err;
  EXPECT_TRUE(has(first.err, "2 invalid_request, as \"bad\": temperature is 9")) << first.err;
  const std::string answer = text_at(results().at("a"), "id");

  // Edited, it is said that nothing was done; a code that no line has takes none.
  bad["body"].as_object()["temperature"] = 0;
  write_input(input());
  const std::string before = output();
  const JobctlResult edited = run();
  EXPECT_EQ(edited.exit_code, 2);
  EXPECT_TRUE(has(edited.err, "1 line (2 \"bad\") edited")) << edited.err;
  EXPECT_TRUE(has(run({"--retry-failed=run_timeout"}).err, "none of the 2 failed")) << "by code";
  EXPECT_EQ(output(), before);

  const JobctlResult again = run({"--retry-failed=run_timeout,invalid_request"});
  EXPECT_TRUE(has(again.err, "failed lines run again")) << again.err;
  const auto lines = results();
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(number_at(lines.at("bad"), "response.status_code"), 200);
  EXPECT_NE(number_at(lines.at("late"), "response.status_code"), 200);
  EXPECT_EQ(text_at(lines.at("a"), "id"), answer) << "it is the same result";

  late["body"].as_object()["model"] = "tiny";
  write_input(input() + batch_line("new", 3));
  EXPECT_EQ(run({"--retry-failed"}).exit_code, 0);
  EXPECT_EQ(results().size(), 4u);
  EXPECT_EQ(number_at(results().at("late"), "response.status_code"), 200);
  EXPECT_TRUE(has(run({"--retry-failed"}).err, "nothing to run again"));
  write_input(batch_line("a", 3));
  EXPECT_EQ(run({"--retry-failed"}).exit_code, 2) << "lines were removed";
}

// The states that a kill can leave: the mark says what is being taken out, and OUT is the old file
// or the new one.
TEST_F(BatchRunFiles, a_retry_that_was_killed_goes_on_and_loses_nothing) {
  std::string input;
  for (int i = 0; i < 20; ++i) {
    json::object line = json::parse(batch_line("l" + std::to_string(i), 3)).as_object();
    if (i % 2 == 1) line["body"].as_object()["temperature"] = 9;
    input += json::serialize(line) + "\n";
  }
  write_input(input);
  ASSERT_TRUE(daemon_.start());
  for (const bool is_replaced : {false, true}) {
    ASSERT_EQ(run().exit_code, 1);
    const auto before = results();
    json::object mark = json::parse(text_of(out() + ".parkd-run")).as_object();
    ASSERT_TRUE(mark["complete"].as_bool());
    if (is_replaced) {
      std::string kept;
      for (const auto& [custom_id, line] : before) {
        if (number_at(line, "response.status_code") != 200) continue;
        kept.insert(0, json::serialize(line) + "\n");
      }
      mark["heads"].as_array().push_back(json::string(kept.substr(0, kept.find('\n'))));
      std::ofstream(out(), std::ios::trunc) << kept;
    }
    mark["complete"] = false;
    mark["taking_out"] = {"*"};
    mark["id"] = "0123456789abcdef" + std::string(is_replaced ? "1" : "0");
    std::ofstream(out() + ".parkd-run", std::ios::trunc) << json::serialize(mark);
    const JobctlResult rest = run();
    EXPECT_EQ(rest.exit_code, 1) << rest.err;
    EXPECT_TRUE(has(rest.err, "continuing: 10 of 20")) << rest.err;
    const auto lines = results();
    ASSERT_EQ(lines.size(), 20u);
    for (const auto& [custom_id, line] : lines) {
      if (number_at(line, "response.status_code") != 200) continue;
      EXPECT_EQ(line, before.at(custom_id));
    }
  }
}

TEST_F(BatchRunFiles, a_pipe_is_read_and_standard_output_written) {
  ASSERT_TRUE(daemon_.start());
  const std::string lines = "\xEF\xBB\xBF" + batch_line("a", 3) + batch_line("b", 4);
  const JobctlResult piped = run_jobctl(daemon_, {"batch", "run", "-", "-o", "-"}, lines);
  EXPECT_EQ(piped.exit_code, 0) << piped.err;
  EXPECT_EQ(std::count(piped.out.begin(), piped.out.end(), '\n'), 2) << piped.out;
  EXPECT_TRUE(has(piped.out, "\"custom_id\":\"b\"")) << piped.out;
  // A pipe that says the same again continues the run of its output.
  EXPECT_EQ(run_jobctl(daemon_, {"batch", "run", "/dev/stdin", "-o", out()}, lines).exit_code, 0);
  const JobctlResult again = run_jobctl(daemon_, {"batch", "run", "-", "-o", out()}, lines);
  EXPECT_EQ(again.exit_code, 0) << again.err;
  EXPECT_TRUE(has(again.err, "2 of 2 results are there")) << again.err;
  EXPECT_EQ(results().size(), 2u);
}

TEST_F(BatchRunFiles, what_is_no_line_of_json_is_named_with_its_place_and_cause) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"\x1F\x8B\x08 zipped", "compressed by gzip: zcat"},
      {std::string("\xFF\xFE{\0", 4), "UTF-16"},
      {"{\"custom_id\":\"x\",}\n",
       "line 1 is not JSON, byte 18: a comma before the closing bracket (custom_id \"x\")"},
      {"{'custom_id':'x'}\n", "byte 2: a single quote"},
      {"{\"custom_id\":\"x\",\"body\":{\"temperature\":NaN}}\n", "NaN and Infinity are not JSON"},
      {"{\"custom_id\":\"x\",\"body\":\"caf\xE9\"}\n", "byte 29 (0xE9) is not UTF-8"},
      {"[\n{\"custom_id\":\"x\"}\n]\n",
       "it ends in the middle of a value; one line is one whole object"},
      {"[{\"custom_id\":\"x\"}]\n", "is a JSON array"},
      {"{\n  \"custom_id\": \"x\"\n}\n", "jq -c ."},
      {"{\"custom_id\":\"x\",\"body\":\"a\\ud800b\"}\n", "half of a surrogate pair"},
      {"{\"custom_id\":7}\n", "has the custom_id 7, which must be a string: \"7\""},
      {"{\"custom_id\":\"x\"}{\"custom_id\":\"y\"}\n", "a second object behind the first"},
      {"{\"custom_id\":\"x\",\"ok\":True}\n", "written small"},
  };
  for (const auto& [text, cause] : cases) {
    write_input(text);
    const JobctlResult result = run();
    EXPECT_EQ(result.exit_code, 2) << text;
    EXPECT_TRUE(has(result.err, cause)) << text << " gives " << result.err;
    EXPECT_NE(::access(out().c_str(), F_OK), 0);
  }
}

// Its JSON can be read and means two things, or no text: a line that fails, with its own place.
TEST_F(BatchRunFiles, a_line_that_no_job_can_be_made_of_is_one_failed_line) {
  ASSERT_TRUE(daemon_.start());
  const auto line = [](const std::string& id, const std::string& more, const std::string& text) {
    return R"({"custom_id":")" + id + R"(","body":{"max_tokens":2,)" + more +
           R"("messages":[{"role":"user","content":")" + text + R"("}]}})" + "\n";
  };
  write_input(line("a", "", "q") + line("twice", R"("n":1,"n":2,)", "q") + line("b", "", "q") +
              line("nul", "", "x\\u0000"));
  const JobctlResult result = run();
  EXPECT_EQ(result.exit_code, 1) << result.err;
  const auto lines = results();
  ASSERT_EQ(lines.size(), 4u) << result.err;
  for (const char* id : {"a", "b"}) {
    EXPECT_EQ(number_at(lines.at(id), "response.status_code"), 200) << id;
  }
  const auto message = [&lines](const char* id) {
    EXPECT_EQ(number_at(lines.at(id), "response.status_code"), 400) << id;
    return text_at(lines.at(id), "response.body.error.message");
  };
  EXPECT_TRUE(
      has(message("twice"),
          "the line cannot be taken, byte 51: \"n\" is given twice in one object; give it once"))
      << message("twice");
  EXPECT_TRUE(has(message("nul"), "\\u0000 in a string, which is not text; remove it"))
      << message("nul");
}

}  // namespace
}  // namespace parkd::testing
