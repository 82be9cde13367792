// GET /v1/jobs/ID/stream: who may have it when, and what it leaves behind.
#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tests/daemon/api_world.h"

namespace parkd::testing {
namespace {

constexpr const char* kAnswer = R"({"id":"chatcmpl-1","object":"chat.completion","created":1,)"
                                R"("model":"m","system_fingerprint":"fp","choices":[{"index":0,)"
                                R"("message":{"role":"assistant","content":"all of it"},)"
                                R"("finish_reason":"stop"}],"usage":{"total_tokens":3}})";

std::string stream_of(JobId id) {
  return "/v1/jobs/" + std::to_string(id) + "/stream";
}

bool is_stream(const RawAnswer& answer) {
  return answer.status == 200 &&
         answer.head.find("Content-Type: text/event-stream") != answer.head.npos &&
         answer.head.find("X-Parkd-Job-Id: ") != answer.head.npos;
}

// Up to the end of the chunked body.
std::string rest_of(RawPeer& peer) {
  std::string text;
  while (text.find("\r\n0\r\n\r\n") == text.npos) {
    const std::string more = peer.read_some();
    if (more.empty()) break;
    text += more;
  }
  return text;
}

// As a store whose disk is full.
class FullCallerStore final : public CallerStore {
 public:
  void attach(JobId, CallerGrace, Completion<CallerGrace> done) override { done(full()); }
  void detach(JobId, std::string, Completion<std::optional<CancelAnswer>> done) override {
    done(full());
  }
  void keep(JobId, Completion<bool> done) override { done(full()); }
  void adopt(Completion<std::vector<AttachedJob>> done) override { done(full()); }

 private:
  static Status full() { return unavailable("the store cannot write"); }
};

TEST(StreamJob, is_read_of_a_store_that_cannot_write) {
  FullCallerStore full;
  ApiWorldOptions options;
  options.callers = &full;
  ApiWorld world(options);
  world.complete_a_job("ended", kAnswer);
  const JobId live = world.submit_a_job("live");
  RawPeer peer = world.peer();
  ASSERT_TRUE(peer.send(RawPeer::request("GET", stream_of(live - 1))));
  const RawAnswer head = peer.read_head();
  ASSERT_TRUE(is_stream(head)) << head.head;
  const std::string text = rest_of(peer);
  EXPECT_NE(text.find("all of it"), text.npos) << text;
  EXPECT_NE(text.find("[DONE]"), text.npos) << text;
  ASSERT_TRUE(peer.send(RawPeer::request("GET", stream_of(live))));
  EXPECT_TRUE(is_stream(peer.read_head())) << "one of a job that has not ended yet, too";
}

TEST(StreamJob, of_a_head_is_answered_as_a_get_is_and_leaves_no_caller) {
  ApiWorld world;
  world.complete_a_job("ended", kAnswer);
  const JobId live = world.submit_a_job("live");
  RawPeer peer = world.peer();
  for (const JobId id : {live - 1, live}) {
    const RawAnswer head = peer.call("HEAD", stream_of(id));
    EXPECT_TRUE(is_stream(head)) << id << head.head;
  }
  EXPECT_EQ(peer.call("HEAD", stream_of(live + 1)).status, 404);
  EXPECT_EQ(peer.call("HEAD", stream_of(live) + "?include_usage=2").status, 400);
  EXPECT_EQ(world.metric("parkd_callers{streams=\"true\"}"), 0);
}

}  // namespace
}  // namespace parkd::testing
