// Batches of files at the door: from an uploaded file to its results, as OpenAI's API has them. The
// test runs the jobs. What stores do of themselves is tested in tests/store/conformance, what is
// wrong with lines in tests/openai.
#include <gtest/gtest.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tests/daemon/api_world.h"
#include "tests/support/file_form.h"

namespace parkd {
namespace {

namespace json = boost::json;
using testing::ApiWorld;
using testing::RawAnswer;
using testing::RawPeer;

std::string line(const std::string& custom_id, const std::string& more = R"(,"messages":[])") {
  return R"({"custom_id":")" + custom_id +
         R"(","method":"POST","url":"/v1/chat/completions","body":{"model":"m")" + more + "}}\n";
}

class FileBatches : public ::testing::Test {
 protected:
  explicit FileBatches(const testing::ApiWorldOptions& options = {}) : world_(options) {}

  RawAnswer call(const std::string& method, const std::string& target, const std::string& body = "",
                 const std::string& headers = "") {
    RawPeer peer = world_.peer();
    return peer.call(method, target, body, headers);
  }
  json::object object(const RawAnswer& answer, int status = 200) {
    EXPECT_EQ(answer.status, status) << answer.body;
    json::error_code error;
    const json::value value = json::parse(answer.body, error);
    EXPECT_FALSE(error) << answer.body;
    return value.is_object() ? value.get_object() : json::object();
  }
  std::string upload(const std::string& bytes) {
    RawPeer peer = world_.peer();
    EXPECT_TRUE(peer.send(testing::file_upload_head("in.jsonl", bytes.size()) + bytes +
                          std::string(testing::kFileFormTail)));
    return std::string(object(peer.read()).at("id").as_string());
  }
  static std::string request(const std::string& file, const std::string& more = "") {
    return R"({"input_file_id":")" + file +
           R"(","endpoint":"/v1/chat/completions","completion_window":"24h")" + more + "}";
  }
  std::string open(const std::string& bytes, const std::string& more = "") {
    return std::string(
        object(call("POST", "/v1/batches", request(upload(bytes), more))).at("id").as_string());
  }
  json::object batch(const std::string& id) { return object(call("GET", "/v1/batches/" + id)); }
  static std::string text(const json::object& object, const char* key) {
    const json::value& value = object.at(key);
    return value.is_string() ? std::string(value.get_string()) : "";
  }
  json::object batch_when(const std::string& id, const std::string& status) {
    for (;;) {
      json::object batch = this->batch(id);
      if (text(batch, "status") == status) return batch;
      if (::testing::Test::HasFailure()) return batch;
      ::usleep(2000);
    }
  }
  // The next `n` of its jobs, once they are there.
  std::vector<Job> claim(int32_t n) {
    std::vector<Job> jobs;
    while (jobs.size() < static_cast<size_t>(n)) {
      for (Job& job : *world_.store().claim("m", n - static_cast<int32_t>(jobs.size()))) {
        jobs.push_back(std::move(job));
      }
      ::usleep(1000);
    }
    return jobs;
  }
  void complete(const Job& job) {
    FinishItem item;
    item.id = job.id;
    item.lease = job.lease;
    item.ending.body = R"({"object":"chat.completion","of":")" + job.spec.custom_id +
                       R"(","usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}})";
    ASSERT_TRUE(world_.store().finish({item}).ok());
  }
  void fail(const Job& job) {
    FinishItem item;
    item.id = job.id;
    item.lease = job.lease;
    item.ending = ended_as("invalid_request", "bad");
    ASSERT_TRUE(world_.store().finish({item}).ok());
  }
  RawAnswer content(const std::string& file, const std::string& headers = "") {
    return call("GET", "/v1/files/" + file + "/content", "", headers);
  }
  static std::vector<std::string> ids_of(const std::string& lines) {
    std::vector<std::string> ids;
    for (size_t at = 0; at < lines.size();) {
      const size_t end = lines.find('\n', at);
      if (end == lines.npos) {
        ADD_FAILURE() << "a line without its end: " << lines.substr(at);
        break;
      }
      ids.emplace_back(json::parse(lines.substr(at, end - at)).at("custom_id").as_string());
      at = end + 1;
    }
    return ids;
  }
  std::string error(const RawAnswer& answer, int status, const char* field) {
    return text(object(answer, status).at("error").as_object(), field);
  }

  ApiWorld world_;
};

TEST_F(FileBatches, run_from_a_file_to_its_results) {
  const std::string file = upload(line("a") + "\n" + line("b") + line("c", R"(,"messages":7)"));
  const json::object opened = object(call(
      "POST", "/v1/batches",
      request(
          file,
          R"(,"metadata":{"k":"v"},"output_expires_after":{"anchor":"created_at","seconds":7200})")));
  const std::string id = text(opened, "id");
  EXPECT_EQ(text(opened, "status"), "validating");
  EXPECT_EQ(text(opened, "object"), "batch");
  EXPECT_EQ(text(opened, "input_file_id"), file);
  EXPECT_EQ(opened.at("metadata").at("k").as_string(), "v");
  EXPECT_EQ(opened.at("expires_at").as_int64() - opened.at("created_at").as_int64(), 86400);
  EXPECT_EQ(opened.at("output_expires_at").as_int64() - opened.at("expires_at").as_int64(), 7200);

  const std::vector<Job> jobs = claim(3);
  std::map<std::string, Job> by_id;
  for (const Job& job : jobs) {
    by_id[job.spec.custom_id] = job;
    EXPECT_EQ(job.spec.batch_id, id);
    EXPECT_EQ(job.spec.priority, Priority::low);
    EXPECT_EQ(job.spec.retention, std::chrono::seconds(7200));
    EXPECT_EQ(job.spec.endpoint, "/v1/chat/completions");
  }
  EXPECT_EQ(by_id.at("a").spec.body, R"({"model":"m","messages":[]})");
  complete(by_id.at("b"));
  complete(by_id.at("a"));
  fail(by_id.at("c"));
  const json::object done = batch_when(id, "completed");
  EXPECT_EQ(done.at("request_counts").as_object(),
            (json::object{{"total", 3}, {"completed", 2}, {"failed", 1}}));
  EXPECT_EQ(done.at("usage").at("input_tokens").as_int64(), 6);
  EXPECT_EQ(done.at("usage").at("output_tokens").as_int64(), 4);
  EXPECT_EQ(text(done, "model"), "m");
  EXPECT_TRUE(done.at("completed_at").is_int64());
  EXPECT_TRUE(done.at("errors").is_null());

  const RawAnswer output = content(text(done, "output_file_id"));
  EXPECT_EQ(output.status, 200);
  EXPECT_EQ(ids_of(output.body), (std::vector<std::string>{"b", "a"})) << "as they ended";
  EXPECT_EQ(output.head.find("X-Incomplete"), std::string::npos);
  const RawAnswer errors = content(text(done, "error_file_id"));
  EXPECT_EQ(ids_of(errors.body), std::vector<std::string>{"c"});
  const json::object described = object(call("GET", "/v1/files/" + text(done, "output_file_id")));
  EXPECT_EQ(described.at("bytes").as_int64(), static_cast<int64_t>(output.body.size()));
  EXPECT_EQ(text(described, "purpose"), "batch_output");
  EXPECT_EQ(described.at("expires_at"), done.at("output_expires_at"));
  for (const size_t from : {size_t{0}, size_t{1}, output.body.size() / 2, output.body.size() - 1}) {
    const RawAnswer part =
        content(text(done, "output_file_id"), "Range: bytes=" + std::to_string(from) + "-\r\n");
    EXPECT_EQ(part.status, from == 0 ? 200 : 206);
    EXPECT_EQ(part.body, output.body.substr(from));
  }
  EXPECT_EQ(content(text(done, "output_file_id"), "Range: bytes=999999-\r\n").status, 416);
}

TEST_F(FileBatches, show_their_results_while_they_run) {
  const std::string id = open(line("a") + line("b") + line("c"));
  const std::vector<Job> jobs = claim(3);
  const std::string output = "file-" + id.substr(6) + "-output";
  EXPECT_EQ(text(batch(id), "output_file_id"), "");
  EXPECT_EQ(content(output).body, "");
  std::string before;
  for (size_t n = 1; n <= jobs.size(); ++n) {
    complete(jobs[n - 1]);
    const RawAnswer answer = content(output);
    EXPECT_EQ(answer.body.substr(0, before.size()), before) << "it only grows";
    before = answer.body;
    EXPECT_EQ(ids_of(before).size(), n);
    if (n == jobs.size()) break;  // then it may have ended
    EXPECT_NE(answer.head.find("X-Incomplete: true\r\n"), std::string::npos);
    EXPECT_NE(answer.head.find("X-Last-Line: " + std::to_string(n) + "\r\n"), std::string::npos);
    EXPECT_EQ(text(batch(id), "output_file_id"), output);
    EXPECT_EQ(call("DELETE", "/v1/files/" + output).status, 409);
  }
  batch_when(id, "completed");
  EXPECT_EQ(content(output).body, before);
}

TEST_F(FileBatches, say_what_is_wrong_with_their_file) {
  const std::string id = open(line("a") + "no json\n" + line("a"));
  const json::object failed = batch_when(id, "failed");
  const json::array& data = failed.at("errors").at("data").as_array();
  ASSERT_EQ(data.size(), 2u);
  EXPECT_EQ(text(data[0].as_object(), "code"), "invalid_json_line");
  EXPECT_EQ(data[0].at("line").as_int64(), 2);
  EXPECT_EQ(text(data[1].as_object(), "code"), "duplicate_custom_id");
  EXPECT_EQ(text(data[1].as_object(), "param"), "custom_id");
  EXPECT_TRUE(failed.at("failed_at").is_int64());
  EXPECT_TRUE(failed.at("output_file_id").is_null());
  EXPECT_TRUE(world_.store().claim("m", 10)->empty()) << "nothing of it runs";
  EXPECT_EQ(content("file-" + id.substr(6) + "-output").status, 404);
  EXPECT_EQ(call("POST", "/v1/batches/" + id + "/retry").status, 400);

  std::string other = line("a");
  other.replace(other.find("\"m\""), 3, "\"none\"");
  const json::object unknown = batch_when(open(other), "failed");
  EXPECT_EQ(unknown.at("errors").at("data").at(0).at("code").as_string(), "model_not_found");
}

TEST_F(FileBatches, are_refused_by_field) {
  const std::string file = upload(line("a"));
  const auto param = [&](const std::string& body, int status = 400) {
    return error(call("POST", "/v1/batches", body), status, "param");
  };
  const std::string file_field = R"({"input_file_id":")" + file + "\",";
  const std::string rest = R"("endpoint":"/v1/chat/completions","completion_window":"24h")";
  EXPECT_EQ(param(file_field + R"("endpoint":"/v1/x","completion_window":"24h"})"), "endpoint");
  EXPECT_EQ(param(file_field + R"("completion_window":"24h"})"), "endpoint");
  for (const char* window :
       {"", "0h", "721h", "24", "1d", "-1h", "24hh", "024h", "99999999999999999999h"}) {
    EXPECT_EQ(param(file_field + R"("endpoint":"/v1/completions","completion_window":")" + window +
                    "\"}"),
              "completion_window")
        << window;
  }
  EXPECT_EQ(param(file_field + rest + R"(,"metadata":{"a":1}})"), "metadata");
  EXPECT_EQ(param(file_field + rest + R"(,"metadata":{"a":")" + std::string(513, 'x') + "\"}}"),
            "metadata");
  for (const char* life :
       {"{}", R"({"anchor":"created_at","seconds":3599})", "7200",
        R"({"anchor":"now","seconds":7200})", R"({"anchor":"created_at","seconds":2592001})"}) {
    EXPECT_EQ(param(file_field + rest + R"(,"output_expires_after":)" + life + "}"),
              "output_expires_after")
        << life;
  }
  EXPECT_EQ(param(file_field + rest + R"(,"deadline":"2030-01-01T00:00:00Z"})"), "deadline");
  EXPECT_EQ(param(R"({"input_file_id":"file-none",)" + rest + "}", 404), "input_file_id");
  EXPECT_EQ(object(call("GET", "/v1/batches")).at("data").as_array().size(), 0u);
}

TEST_F(FileBatches, are_the_same_by_their_key) {
  const std::string file = upload(line("a"));
  const std::string key = "Idempotency-Key: k\r\n";
  const std::string id = text(object(call("POST", "/v1/batches", request(file), key)), "id");
  EXPECT_EQ(text(object(call("POST", "/v1/batches", request(file), key)), "id"), id);
  EXPECT_EQ(call("POST", "/v1/batches", request(upload(line("a"))), key).status, 409);
}

TEST_F(FileBatches, are_listed_apart_from_those_of_jobs) {
  const std::string jobs = text(object(call("POST", "/v1/batches", "{}"), 201), "id");
  const std::string first = open(line("a"));
  const std::string second = open(line("a"));
  const json::object page = object(call("GET", "/v1/batches?limit=1"));
  EXPECT_EQ(text(page, "object"), "list");
  EXPECT_TRUE(page.at("has_more").as_bool());
  const std::string seen = text(page, "last_id");
  EXPECT_TRUE(seen == first || seen == second);
  const json::object rest = object(call("GET", "/v1/batches?limit=5&after=" + seen));
  EXPECT_EQ(rest.at("data").as_array().size(), 1u);
  EXPECT_FALSE(rest.at("has_more").as_bool());
  const json::object others = object(call("GET", "/v1/batches?of=jobs"));
  ASSERT_EQ(others.at("data").as_array().size(), 1u);
  EXPECT_EQ(text(others.at("data").at(0).as_object(), "id"), jobs);
  EXPECT_EQ(call("GET", "/v1/batches?of=x").status, 400);
}

TEST_F(FileBatches, that_are_cancelled_keep_what_is_done) {
  const std::string id = open(line("a") + line("b") + line("c"));
  const std::vector<Job> jobs = claim(1);
  complete(jobs[0]);
  batch_when(id, "in_progress");
  const std::string after = text(object(call("POST", "/v1/batches/" + id + "/cancel")), "status");
  EXPECT_TRUE(after == "cancelling" || after == "cancelled") << after;
  const json::object done = batch_when(id, "cancelled");
  EXPECT_TRUE(done.at("cancelled_at").is_int64());
  EXPECT_EQ(done.at("request_counts").as_object(),
            (json::object{{"total", 3}, {"completed", 1}, {"failed", 2}}));
  EXPECT_EQ(ids_of(content(text(done, "output_file_id")).body).size(), 1u);
  const std::string errors = content(text(done, "error_file_id")).body;
  EXPECT_EQ(ids_of(errors).size(), 2u);
  EXPECT_NE(errors.find("\"batch_cancelled\""), std::string::npos);
}

class FullQueue : public FileBatches {
 protected:
  FullQueue() : FileBatches(one_job()) {}

 private:
  static testing::ApiWorldOptions one_job() {
    testing::ApiWorldOptions options;
    options.store.limits = {1, 1};
    return options;
  }
};

TEST_F(FullQueue, a_batch_keeps_its_file_until_it_is_read) {
  const std::string file = upload(line("a") + line("b"));
  const std::string id = text(object(call("POST", "/v1/batches", request(file))), "id");
  const std::vector<Job> first = claim(1);
  // Another takes the place that is free again.
  while (world_.store().get_batch(id, "")->total < 2) ::usleep(1000);
  EXPECT_EQ(text(batch_when(id, "in_progress"), "id"), id);
  const std::string third = upload(line("c") + line("d") + line("e"));
  const std::string waiting = text(object(call("POST", "/v1/batches", request(third))), "id");
  batch_when(waiting, "in_progress");
  EXPECT_EQ(call("DELETE", "/v1/files/" + third).status, 409) << "the queue has no room for it";
  complete(first[0]);
  for (int i = 0; i < 4; ++i) complete(claim(1)[0]);
  batch_when(waiting, "completed");
  EXPECT_EQ(call("DELETE", "/v1/files/" + third).status, 200);
  EXPECT_EQ(call("GET", "/v1/files/" + third).status, 404);
}

TEST_F(FileBatches, keep_their_messages_until_both_files_are_deleted) {
  const std::string id = open(line("a") + line("b"));
  const std::vector<Job> jobs = claim(2);
  complete(jobs[0]);
  fail(jobs[1]);
  const json::object done = batch_when(id, "completed");
  const std::string take = "/v1/mailbox/" + id + "/take";
  EXPECT_EQ(call("POST", take, "{}").status, 409);
  const std::string output = text(done, "output_file_id");
  EXPECT_TRUE(object(call("DELETE", "/v1/files/" + output)).at("deleted").as_bool());
  EXPECT_EQ(content(output).status, 404);
  EXPECT_EQ(call("DELETE", "/v1/files/" + output).status, 404);
  EXPECT_TRUE(batch(id).at("output_file_id").is_null());
  const std::string errors = text(done, "error_file_id");
  EXPECT_EQ(ids_of(content(errors).body).size(), 1u) << "the other one stays";
  EXPECT_EQ(call("POST", take, "{}").status, 409);
  EXPECT_EQ(call("DELETE", "/v1/files/" + errors).status, 200);
  while (!object(call("GET", "/v1/mailbox/" + id)).at("messages").as_array().empty()) {
    ::usleep(1000);
  }
}

TEST_F(FileBatches, keep_their_file_to_their_deadline) {
  std::string form;
  for (const auto& [name, value] :
       {std::pair("expires_after[anchor]", "created_at"), {"expires_after[seconds]", "3600"}}) {
    form += "--b0und\r\nContent-Disposition: form-data; name=\"" + std::string(name) +
            "\"\r\n\r\n" + value + "\r\n";
  }
  form += testing::file_form_head("in.jsonl") + line("a") + testing::kFileFormTail;
  const std::string file =
      text(object(call("POST", "/v1/files", form,
                       "Content-Type: multipart/form-data; boundary=b0und\r\n")),
           "id");
  const auto ends_at = [&] {
    return object(call("GET", "/v1/files/" + file)).at("expires_at").as_int64();
  };
  const int64_t at_first = ends_at();
  const json::object batch = object(call("POST", "/v1/batches", request(file)));
  const int64_t deadline = batch.at("expires_at").as_int64();
  EXPECT_GT(deadline, at_first + 22 * 3600);
  EXPECT_EQ(ends_at(), deadline);
  const std::string id = text(batch, "id");
  fail(claim(1).at(0));
  batch_when(id, "completed");
  const json::object again =
      object(call("POST", "/v1/batches/" + id + "/retry", R"({"completion_window":"48h"})"));
  EXPECT_EQ(ends_at(), again.at("expires_at").as_int64()) << "a retry reads it, too";
}

TEST_F(FileBatches, have_no_lines_of_jobs_that_name_their_mailbox_key) {
  const std::string id = open(line("a"));
  const std::vector<Job> jobs = claim(1);
  world_.complete_a_job(id, R"({"not":"ours"})");
  complete(jobs[0]);
  const json::object done = batch_when(id, "completed");
  EXPECT_EQ(ids_of(content(text(done, "output_file_id")).body), std::vector<std::string>{"a"});
  EXPECT_EQ(done.at("usage").at("total_tokens").as_int64(), 5);
}

TEST_F(FileBatches, of_responses_run_and_run_again_by_the_names_of_their_fields) {
  const auto response_line = [](const std::string& custom_id, const std::string& more) {
    return R"({"custom_id":")" + custom_id +
           R"(","method":"POST","url":"/v1/responses","body":{"model":"m","input":"x")" + more +
           "}}\n";
  };
  std::string request = FileBatches::request(
      upload(response_line("a", "") + response_line("b", R"(,"max_output_tokens":4)")));
  const std::string chat = "/v1/chat/completions";
  request.replace(request.find(chat), chat.size(), "/v1/responses");
  const std::string id = text(object(call("POST", "/v1/batches", request)), "id");
  for (const Job& job : claim(2)) {
    EXPECT_EQ(job.spec.endpoint, "/v1/responses");
    fail(job);
  }
  batch_when(id, "completed");
  const std::string again =
      text(object(call("POST", "/v1/batches/" + id + "/retry", R"({"max_tokens":64})")), "id");
  std::map<std::string, std::string> bodies;
  for (const Job& job : claim(2)) {
    bodies[job.spec.custom_id] = job.spec.body;
    FinishItem item;
    item.id = job.id;
    item.lease = job.lease;
    item.ending.body =
        R"({"object":"response","usage":{"input_tokens":3,"output_tokens":2,"total_tokens":5,)"
        R"("input_tokens_details":{"cached_tokens":1}}})";
    ASSERT_TRUE(world_.store().finish({item}).ok());
  }
  EXPECT_EQ(bodies.at("a"), R"({"model":"m","input":"x","max_output_tokens":64})");
  EXPECT_EQ(bodies.at("b"), R"({"model":"m","input":"x","max_output_tokens":64})");
  const json::object done = batch_when(again, "completed");
  EXPECT_EQ(text(done, "endpoint"), "/v1/responses");
  EXPECT_EQ(done.at("usage").at("input_tokens").as_int64(), 6);
  EXPECT_EQ(done.at("usage").at("input_tokens_details").at("cached_tokens").as_int64(), 2);
  EXPECT_EQ(done.at("usage").at("output_tokens").as_int64(), 4);
}

TEST_F(FileBatches, run_again_what_did_not_complete) {
  const std::string id =
      open(line("a") + line("b", R"(,"max_tokens":4,"messages":[])") + line("c"));
  const std::string retry = "/v1/batches/" + id + "/retry";
  const std::vector<Job> jobs = claim(3);
  const RawAnswer early = call("POST", retry);
  EXPECT_EQ(early.status, 409) << "it runs";
  EXPECT_NE(early.head.find("X-Should-Retry: false"), early.head.npos) << early.head;
  for (const Job& job : jobs) job.spec.custom_id == "a" ? complete(job) : fail(job);
  batch_when(id, "completed");
  const json::object opened = object(call("POST", retry, R"({"max_tokens":64})"));
  EXPECT_EQ(text(opened, "retried_from"), id);
  const std::string again = text(opened, "id");
  EXPECT_NE(again, id);
  std::map<std::string, std::string> bodies;
  for (const Job& job : claim(2)) {
    bodies[job.spec.custom_id] = job.spec.body;
    complete(job);
  }
  EXPECT_EQ(bodies.at("b"), R"({"model":"m","max_tokens":64,"messages":[]})");
  EXPECT_EQ(bodies.count("c"), 1u);
  const json::object done = batch_when(again, "completed");
  EXPECT_EQ(done.at("request_counts").as_object(),
            (json::object{{"total", 2}, {"completed", 2}, {"failed", 0}}));
  EXPECT_TRUE(world_.store().claim("m", 10)->empty());
  EXPECT_EQ(call("POST", "/v1/batches/" + again + "/retry").status, 409) << "nothing failed";
  EXPECT_EQ(call("DELETE", "/v1/files/" + text(done, "input_file_id")).status, 200);
  EXPECT_EQ(call("POST", retry).status, 410) << "its file is gone";
}

class ToldBatches : public FileBatches {
 protected:
  ToldBatches() : FileBatches(with_webhooks()) {}

 private:
  static testing::ApiWorldOptions with_webhooks() {
    testing::ApiWorldOptions options;
    options.webhooks.emplace_back().url_prefix = read_webhook_url("https://a.org/hooks/").value();
    return options;
  }
};

TEST_F(ToldBatches, show_who_is_told_of_their_end_and_how_far_that_is) {
  const std::string id = open("", R"(,"webhook_url":"https://a.org/hooks/1?x=y")");
  const json::object failed = batch_when(id, "failed");
  const json::object& webhook = failed.at("webhook").as_object();
  EXPECT_EQ(webhook.at("url").as_string(), "https://a.org/hooks/1?x=y");
  EXPECT_EQ(webhook.at("status").as_string(), "pending");
  EXPECT_EQ(webhook.at("attempts").as_int64(), 0);
  EXPECT_EQ(webhook.at("next_attempt_at"), failed.at("failed_at"));
  EXPECT_TRUE(webhook.at("delivered_at").is_null());
  EXPECT_TRUE(webhook.at("last_error").is_null());
  EXPECT_TRUE(batch(open(line("a"))).at("webhook").is_null());
}

TEST_F(ToldBatches, are_refused_where_their_webhook_is_none_of_their_tenants) {
  const std::string file = upload(line("a"));
  for (const char* url : {"https://a.org/other", "https://b.org/hooks/", "http://a.org/hooks/",
                          "https://a.org/hooks/../x", "no url"}) {
    EXPECT_EQ(error(call("POST", "/v1/batches",
                         request(file, std::string(R"(,"webhook_url":")") + url + "\"")),
                    400, "param"),
              "webhook_url")
        << url;
  }
  EXPECT_EQ(
      error(call("POST", "/v1/batches", R"({"webhook_url":"https://a.org/hooks/"})"), 400, "param"),
      "webhook_url")
      << "of jobs";
}

TEST_F(ToldBatches, keep_their_webhook_when_they_run_again_or_have_another_or_none) {
  const std::string id = open(line("a"), R"(,"webhook_url":"https://a.org/hooks/1")");
  fail(claim(1)[0]);
  batch_when(id, "completed");
  const auto again = [&](const std::string& body) {
    return object(call("POST", "/v1/batches/" + id + "/retry", body)).at("webhook");
  };
  EXPECT_EQ(again("").at("url").as_string(), "https://a.org/hooks/1");
  EXPECT_EQ(again(R"({"webhook_url":"https://a.org/hooks/2"})").at("url").as_string(),
            "https://a.org/hooks/2");
  EXPECT_TRUE(again(R"({"webhook_url":""})").is_null());
  EXPECT_EQ(
      error(call("POST", "/v1/batches/" + id + "/retry", R"({"webhook_url":"https://b.org"})"), 400,
            "param"),
      "webhook_url");
}

TEST_F(FileBatches, are_not_sealed_or_filled_or_requeued_by_others) {
  const std::string id = open(line("a"));
  claim(1);
  EXPECT_EQ(call("POST", "/v1/batches/" + id + "/seal").status, 409);
  EXPECT_EQ(call("POST", "/v1/jobs/requeue", R"({"batch_id":")" + id + "\"}").status, 409);
  const std::string job =
      R"({"body":{"model":"m","messages":[{"role":"user","content":"x"}]},"batch_id":")" + id +
      "\"";
  EXPECT_EQ(call("POST", "/v1/jobs", job + "}").status, 409);
  EXPECT_EQ(batch(id).at("request_counts").at("total").as_int64(), 1);
}

TEST_F(FileBatches, are_no_other_tenants) {
  const std::string id = open(line("a"));
  const std::vector<Job> jobs = claim(1);
  complete(jobs[0]);
  const json::object done = batch_when(id, "completed");
  const std::string other = "X-Parkd-Tenant: other\r\n";
  EXPECT_EQ(content(text(done, "output_file_id"), other).status, 404);
  EXPECT_EQ(call("POST", "/v1/batches/" + id + "/retry", "", other).status, 404);
  EXPECT_EQ(call("DELETE", "/v1/files/" + text(done, "output_file_id"), "", other).status, 404);
  EXPECT_EQ(
      error(call("POST", "/v1/batches", request(text(done, "input_file_id")), other), 404, "param"),
      "input_file_id");
  EXPECT_EQ(object(call("GET", "/v1/batches", "", other)).at("data").as_array().size(), 0u);
}

}  // namespace
}  // namespace parkd
