#include "tests/e2e/file_batch.h"

#include <gtest/gtest.h>

#include <string_view>
#include <utility>

#include "tests/support/file_form.h"
#include "tests/support/raw_peer.h"

namespace parkd::testing {

namespace json = boost::json;

std::string batch_requests() {
  std::string lines;
  for (int i = 0; i < kBatchLines; ++i) {
    const bool is_bad = i % kBadLineEvery == 0;
    lines +=
        R"({"custom_id":"c)" + std::to_string(i) +
        R"(","method":"POST","url":"/v1/chat/completions","body":{"model":"tiny","max_tokens":1,)" +
        (is_bad ? R"("temperature":99,)" : "") + R"("messages":[{"role":"user","content":"a)" +
        std::to_string(i) + "\"}]}}\n";
  }
  return lines;
}

json::object BatchClient::call(const std::string& method, const std::string& target,
                               const std::string& body, const std::string& headers) {
  RawPeer peer(daemon_.socket());
  if (!peer.connected()) return {};
  const RawAnswer answer = peer.call(method, target, body, headers);
  json::error_code error;
  const json::value value = json::parse(answer.body, error);
  if (error || !value.is_object()) return {};
  EXPECT_EQ(answer.status / 100, 2) << method << " " << target << ": " << answer.body;
  return value.get_object();
}

std::string BatchClient::upload(const std::string& bytes) {
  RawPeer peer(daemon_.socket());
  EXPECT_TRUE(peer.send(file_upload_head("in.jsonl", bytes.size()) + bytes + kFileFormTail));
  return std::string(json::parse(peer.read().body).at("id").as_string());
}

json::object BatchClient::open(const std::string& file_id, const std::string& headers) {
  return call("POST", "/v1/batches",
              R"({"input_file_id":")" + file_id +
                  R"(","endpoint":"/v1/chat/completions","completion_window":"1h"})",
              headers);
}

json::object BatchClient::completed(const std::string& id) {
  json::object batch;
  const bool is_over = daemon_.wait_until([&] {
    batch = call("GET", "/v1/batches/" + id);
    return !batch.empty() && batch.at("status").as_string() == "completed";
  });
  return is_over ? batch : json::object();
}

std::string BatchClient::content(const json::value& file_id) {
  RawPeer peer(daemon_.socket());
  const RawAnswer answer =
      peer.call("GET", "/v1/files/" + std::string(file_id.as_string()) + "/content");
  EXPECT_EQ(answer.status, 200) << answer.body;
  return answer.body;
}

std::map<std::string, int> BatchClient::ids(const json::value& file_id) {
  std::map<std::string, int> count;
  const std::string lines = content(file_id);
  const json::object file = call("GET", "/v1/files/" + std::string(file_id.as_string()));
  EXPECT_EQ(static_cast<int64_t>(lines.size()), file.at("bytes").as_int64());
  for (size_t at = 0; at < lines.size();) {
    const size_t end = lines.find('\n', at);
    ++count[std::string(json::parse(lines.substr(at, end - at)).at("custom_id").as_string())];
    at = end + 1;
  }
  return count;
}

void BatchClient::expect_each_line_once(const json::object& batch) {
  EXPECT_EQ(batch.at("request_counts").as_object(),
            (json::object{{"total", kBatchLines},
                          {"completed", kBatchLines - kBatchLines / kBadLineEvery},
                          {"failed", kBatchLines / kBadLineEvery}}));
  const std::map<std::string, int> output = ids(batch.at("output_file_id"));
  const std::map<std::string, int> errors = ids(batch.at("error_file_id"));
  for (int i = 0; i < kBatchLines; ++i) {
    const std::string id = "c" + std::to_string(i);
    const auto& [here, there] =
        i % kBadLineEvery == 0 ? std::pair(&errors, &output) : std::pair(&output, &errors);
    ASSERT_TRUE(here->count(id) == 1 && here->at(id) == 1) << id;
    ASSERT_EQ(there->count(id), 0u) << id;
  }
}

}  // namespace parkd::testing
