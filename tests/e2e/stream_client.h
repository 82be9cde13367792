// StreamClient: who reads one of OpenAI's streams and glues its chunks together, and what they have
// to come to. One thread a client.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>

#include "tests/e2e/jobs.h"
#include "tests/support/event_peer.h"

namespace parkd::testing {

// What a client has glued together of the chunks of one choice.
struct GluedChoice {
  std::string role;
  std::string content;
  std::string finish_reason;
  json::array logprobs;                      // of a chat
  std::map<std::string, json::array> lists;  // of a completion's logprobs
};

class StreamClient {
 public:
  explicit StreamClient(const std::string& socket) : peer_(socket) {}

  void open(const std::string& request) {
    const RawAnswer answer = peer_.open(request);
    status = answer.status;
    body = answer.body;
    const size_t at = answer.head.find("X-Parkd-Job-Id: ");
    if (at != answer.head.npos) job = std::stoll(answer.head.substr(at + 16));
    EXPECT_TRUE(status != 200 || answer.head.find("text/event-stream") != answer.head.npos);
  }
  // The next event, glued to the rest. False: none came.
  bool step() {
    const auto event = peer_.next();
    if (!event) return false;
    ++n_events;
    if (event->data == "[DONE]") {
      done = true;
      return true;
    }
    if (!event->id.empty()) last_id = event->id;
    const json::value chunk = json::parse(event->data);
    if (event->name == "restarted") {
      restarted = true;
      choices.clear();
    }
    if (find(chunk, "error") != nullptr) {
      error = *find(chunk, "error");
      return true;
    }
    created.insert({number_at(chunk, "created"), text_at(chunk, "id")});
    for (const json::value& choice : find(chunk, "choices")->get_array()) glue(choice);
    if (const json::value* figures = find(chunk, "usage"); figures && figures->is_object()) {
      usage = *figures;
    }
    return true;
  }
  void finish() {
    while (step()) {
    }
    EXPECT_TRUE(peer_.is_whole());
  }
  size_t n_content() const {
    size_t n = 0;
    for (const auto& [index, choice] : choices) n += choice.content.size();
    return n;
  }
  void close() { peer_.close(); }
  int fd() const { return peer_.fd(); }

  int status = 0;
  std::string body;  // of what is no stream
  int64_t job = 0;
  int n_events = 0;
  bool done = false;
  bool restarted = false;
  std::string last_id;
  json::value error;
  json::value usage;
  std::map<int64_t, GluedChoice> choices;
  std::set<std::pair<int64_t, std::string>> created;  // all chunks say the same

 private:
  void glue(const json::value& chunk) {
    GluedChoice& choice = choices[number_at(chunk, "index")];
    EXPECT_EQ(choice.finish_reason, "") << "nothing follows the end of a choice";
    for (const char* path : {"delta.content", "text"}) {
      if (const json::value* text = find(chunk, path)) choice.content += text->get_string();
    }
    if (const json::value* role = find(chunk, "delta.role")) choice.role += role->get_string();
    if (const json::value* reason = find(chunk, "finish_reason"); reason->is_string()) {
      choice.finish_reason = std::string(reason->get_string());
    }
    if (const json::value* list = find(chunk, "logprobs.content")) {
      for (const json::value& each : list->get_array()) choice.logprobs.push_back(each);
    }
    for (const char* name : {"tokens", "token_logprobs", "top_logprobs", "text_offset"}) {
      const json::value* list = find(chunk, std::string("logprobs.") + name);
      if (list == nullptr || !list->is_array()) continue;
      for (const json::value& each : list->get_array()) choice.lists[name].push_back(each);
    }
  }

  EventPeer peer_;
};

// The stream is what the stored message holds, and ended as it did.
inline void expect_is_its_message(const StreamClient& stream, const json::value& message) {
  ASSERT_EQ(text_at(message, "outcome"), "completed") << json::serialize(message);
  EXPECT_TRUE(stream.done) << json::serialize(stream.error);
  EXPECT_EQ(stream.created.size(), 1u);
  const json::array& stored = find(message, "response.body.choices")->get_array();
  ASSERT_EQ(stream.choices.size(), stored.size());
  for (size_t i = 0; i < stored.size(); ++i) {
    const json::value& whole = stored[i];
    const GluedChoice& glued = stream.choices.at(static_cast<int64_t>(i));
    const bool is_chat = find(whole, "message") != nullptr;
    EXPECT_EQ(glued.content, text_at(whole, is_chat ? "message.content" : "text"));
    EXPECT_EQ(glued.finish_reason, text_at(whole, "finish_reason"));
    EXPECT_EQ(glued.role, is_chat ? "assistant" : "");
    if (const json::value* list = find(whole, "logprobs.content")) {
      EXPECT_EQ(json::value(glued.logprobs), *list);
    }
    for (const char* name : {"tokens", "token_logprobs", "top_logprobs", "text_offset"}) {
      const json::value* list = find(whole, std::string("logprobs.") + name);
      if (list == nullptr || !list->is_array()) continue;
      EXPECT_EQ(json::value(glued.lists.at(name)), *list);
    }
  }
}

}  // namespace parkd::testing
