// Requests of the end-to-end tests.
#pragma once

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <chrono>
#include <string>
#include <utility>

#include "lib/base/clock.h"
#include "tests/support/daemon_process.h"
#include "tools/jobctl/json_fields.h"

namespace parkd::testing {

namespace json = boost::json;
using jobctl::find;
using jobctl::flag_at;
using jobctl::HttpAnswer;
using jobctl::HttpClient;
using jobctl::number_at;
using jobctl::text_at;

inline json::object chat_body(const std::string& prompt, int max_tokens) {
  json::object body;
  body["messages"] = {{{"role", "user"}, {"content", prompt}}};
  body["max_tokens"] = max_tokens;
  body["seed"] = 7;
  return body;
}

inline json::object chat_job(const std::string& mailbox_key, int max_tokens = 4) {
  json::object job;
  job["body"] = chat_body("Say something.", max_tokens);
  job["mailbox_key"] = mailbox_key;
  return job;
}

// A run_at that lies ahead, within a batch's default deadline too.
inline std::string in_an_hour() {
  return to_rfc3339(SystemClock().now() + std::chrono::hours(1));
}

inline json::object far_future(json::object job) {
  job["run_at"] = "2090-01-01T00:00:00Z";
  return job;
}

// The tiny model's token of a letter, as logit_bias names it (tests/support/tiny_tokenizer.cc:
// bytes come after three control tokens).
inline std::string tiny_token(char letter) {
  return std::to_string(3 + static_cast<int>(letter));
}

// Whatever the seed: no control token, which would end it. Nor U+0000, which PostgreSQL cannot
// store.
inline void go_on_to_the_limit(json::object& body) {
  json::object bias{{tiny_token('\0'), -100}};
  for (const char* control : {"0", "1", "2"}) bias[control] = -100;
  body["logit_bias"] = std::move(bias);
}

// The answer; a failed call is a test failure and an answer of status 0.
inline HttpAnswer must(Result<HttpAnswer> answer) {
  if (!answer.ok()) {
    ADD_FAILURE() << answer.status().to_string();
    return {};
  }
  return std::move(answer).value();
}

inline int64_t submit(HttpClient& client, const json::object& job) {
  const HttpAnswer answer = must(client.post("/v1/jobs", job));
  EXPECT_EQ(answer.status, 202) << answer.text;
  return number_at(answer.json, "id");
}

inline json::array messages_of(const HttpAnswer& answer) {
  const json::value* list = find(answer.json, "messages");
  if (answer.status != 200 || list == nullptr || !list->is_array()) {
    ADD_FAILURE() << "no messages in: " << answer.status << " " << answer.text;
    return {};
  }
  return list->get_array();
}

// Long polls until the key has had `count` messages.
inline json::array wait_for_messages(HttpClient& client, const std::string& key, size_t count) {
  json::array all;
  std::string cursor;
  while (all.size() < count) {
    const HttpAnswer page = must(client.get("/v1/mailbox/" + key + "?wait_s=60" +
                                            (cursor.empty() ? "" : "&cursor=" + cursor)));
    const json::array some = messages_of(page);
    if (page.status != 200) break;
    all.insert(all.end(), some.begin(), some.end());
    cursor = text_at(page.json, "next_cursor");
  }
  return all;
}

// The value of a sample of /metrics; 0 when it is not there.
inline double metric(const DaemonProcess& daemon, const std::string& sample) {
  std::istringstream lines(must(daemon.client()->get("/metrics")).text);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind(sample + " ", 0) == 0) return std::stod(line.substr(sample.size() + 1));
  }
  return 0;
}

}  // namespace parkd::testing
