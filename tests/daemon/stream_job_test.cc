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
