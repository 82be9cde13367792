// Idempotency keys through the API: what a submit means does not depend on what the daemon knows
// yet.
#include <gtest/gtest.h>

#include "tests/daemon/api_world.h"
#include "tests/support/tiny_model.h"

namespace parkd::testing {
namespace {

std::shared_ptr<const ModelEndpoint> tiny_endpoint() {
  EndpointOptions options;
  options.model = "m";
  options.context_tokens = 256;
  options.block_size = 16;
  options.capacity = Blocks{200};
  options.max_num_seqs = 4;
  return std::make_shared<const ModelEndpoint>(tiny_model_card(), options);
}

// Found by the kill loop (tests/crash): a submit whose answer was lost, sent again when the daemon
// had started anew and had not read the model's file yet, was 409.
TEST(ApiKeys, a_key_is_the_same_job_while_the_model_loads_and_after) {
  ApiWorld world;
  const auto submit = [&](const std::string& key, const std::string& more) {
    const RawAnswer answer = world.peer().call(
        "POST", "/v1/jobs",
        R"({"idempotency_key":")" + key +
            R"(","mailbox_key":"box","body":{"messages":[{"role":"user","content":"Hi"}])" + more +
            "}}");
    EXPECT_EQ(answer.status, 202) << more << ": " << answer.body;
    return answer.body.substr(0, answer.body.find(','));  // its id
  };
  const std::vector<std::string> bodies = {"", R"(,"seed":7)", R"(,"seed":0,"n":2)",
                                           R"(,"max_tokens":5,"seed":3)"};
  std::vector<std::string> ids;
  for (size_t i = 0; i < bodies.size(); ++i) {
    ids.push_back(submit("k" + std::to_string(i), bodies[i]));
  }
  world.model_was_read(tiny_endpoint());
  for (size_t i = 0; i < bodies.size(); ++i) {
    EXPECT_EQ(submit("k" + std::to_string(i), bodies[i]), ids[i]) << bodies[i];
  }
}

}  // namespace
}  // namespace parkd::testing
