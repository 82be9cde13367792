// The whole straight path but for the faces and the disk: bodies in, the real dispatcher loop,
// tokenizer, engine and CPU backend on a tiny model, response bodies out.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "lib/backend/cpu/cpu_backend.h"
#include "lib/base/blocking_pool.h"
#include "lib/base/inbox.h"
#include "lib/base/log.h"
#include "lib/dispatch/dispatcher.h"
#include "lib/endpoint/model_endpoint.h"
#include "lib/job/endpoints.h"
#include "lib/model/model_card.h"
#include "lib/store/job_store.h"
#include "lib/store/memory/memory_store.h"
#include "tests/support/tiny_model.h"

namespace parkd {
namespace {

struct Shape {
  int64_t capacity;
  int32_t workers;
  int32_t max_num_seqs;
  bool tenants_share_prefixes = false;
};

// One daemon's inside, from start to drain.
class Spine {
 public:
  explicit Spine(const Shape& shape)
      : card_(testing::tiny_model_card()),
        store_(make_memory_store({}, clock_)),
        dispatcher_({}, *store_, clock_,
                    [this](std::function<void()> task) { return blocking_.run(std::move(task)); }) {
    StoreObserver observer;
    observer.work_available = [this](const std::string& m) { dispatcher_.work_available(m); };
    observer.cancel_requested = [this](JobId id, RunLease l) {
      dispatcher_.cancel_requested(id, l);
    };
    observer.message_stored = [this](const std::string&, const std::string&) { stored_.push(1); };
    store_->set_observer(std::move(observer));
    start_model(shape);
    loop_ = std::thread([this] { dispatcher_.run(); });
  }

  ~Spine() {
    dispatcher_.drain();
    while (!dispatcher_.drained()) std::this_thread::yield();
    dispatcher_.close();
    loop_.join();
    dispatcher_.check_idle();
    engine_->stop();
    blocking_.stop();
    store_->stop();
  }

  // The message of each body, in their order.
  std::vector<Message> run(const std::vector<std::string>& bodies,
                           const std::string& tenant = "default") {
    std::vector<JobId> ids;
    for (const std::string& body : bodies) {
      JobSpec spec;
      spec.model = "tiny";
      spec.tenant = tenant;
      spec.body = body;
      spec.seed = 77;
      if (body.starts_with("{\"input\"")) spec.endpoint = path_of(Endpoint::responses);
      EXPECT_TRUE(endpoint_->admit(spec).ok());
      spec.mailbox_key = "box";
      store_->submit({spec}, [&](Result<std::vector<SubmittedJob>> answer) {
        ids.push_back(answer.value().front().id);
      });
    }
    size_t n = 0;
    while (n < bodies.size()) n += stored_.wait_all().size();
    FetchAnswer fetched;
    store_->fetch({tenant, "box", 0, 10'000},
                  [&](Result<FetchAnswer> answer) { fetched = answer.value(); });
    std::map<JobId, Message> by_id;
    for (Message& message : fetched.messages) by_id[message.job_id] = std::move(message);
    std::vector<Message> messages;
    for (const JobId id : ids) messages.push_back(by_id.at(id));
    return messages;
  }

  EngineStats engine() const { return engine_->stats(); }
  ModelStats model() const { return *dispatcher_.stats()->model("tiny"); }

 private:
  void start_model(const Shape& shape) {
    EndpointOptions options;
    options.model = "tiny";
    options.context_tokens = card_->shape.context_tokens;
    options.block_size = kBlockSize;
    options.capacity = Blocks{shape.capacity};
    options.max_num_seqs = shape.max_num_seqs;
    options.tenants_share_prefixes = shape.tenants_share_prefixes;
    endpoint_ = std::make_shared<const ModelEndpoint>(card_, options);
    CpuBackendOptions backend;
    backend.shape = card_->shape;
    EngineOptions engine;
    engine.block_size = kBlockSize;
    engine.n_workers = shape.workers;
    engine.max_num_seqs = shape.max_num_seqs;
    engine.on_result = [this](GenerationResult r) { dispatcher_.on_result(std::move(r)); };
    std::vector<EngineDevice> devices;
    devices.push_back({make_cpu_backend(backend).value(), options.capacity});
    engine_ = make_engine(card_, std::move(devices), engine).value();
    ModelPort port;
    port.engine = engine_.get();
    port.parts = {{options.capacity, shape.max_num_seqs}};
    port.block_size = kBlockSize;
    port.lot_places = 2 * shape.max_num_seqs;
    port.prepare = [e = endpoint_](const Job& job) { return e->prepare(job); };
    port.render = [e = endpoint_](const EndedRun& run) { return e->render(run); };
    dispatcher_.model_ready("tiny", std::move(port));
  }

  static constexpr int32_t kBlockSize = 32;
  SystemClock clock_;
  const std::shared_ptr<const ModelCard> card_;
  Inbox<int> stored_;
  const std::unique_ptr<JobStore> store_;
  BlockingPool blocking_{2, 0};
  Dispatcher dispatcher_;
  std::shared_ptr<const ModelEndpoint> endpoint_;
  std::unique_ptr<Engine> engine_;
  std::thread loop_;
};

std::vector<std::string> varied_bodies() {
  std::vector<std::string> bodies;
  for (int i = 0; i < 24; ++i) {
    std::string body = R"({"messages":[{"role":"user","content":"Question )" + std::to_string(i) +
                       std::string(static_cast<size_t>(i) * 7, 'x') + R"("}],"max_tokens":)" +
                       std::to_string(3 + i);
    if (i % 3 == 0) body += R"(,"temperature":0)";
    if (i % 4 == 1) body += R"(,"n":2,"seed":5)";
    if (i % 5 == 2) body += R"(,"logprobs":true,"top_logprobs":3)";
    bodies.push_back(body + "}");
    if (i % 6 == 0) {  // the same question
      bodies.push_back(R"({"input":"Question )" + std::to_string(i) +
                       std::string(static_cast<size_t>(i) * 7, 'x') + R"(","max_output_tokens":)" +
                       std::to_string(3 + i) + "}");
    }
  }
  return bodies;
}

// What I7 promises: all of a body from its choices (a response's output) to what was shared and its
// own figures.
std::string promised_part(const std::string& body) {
  const bool is_response = body.starts_with("{\"id\":\"resp_");
  const size_t first = body.find(is_response ? "\"output\"" : "\"choices\"");
  const size_t last =
      body.rfind(is_response ? ",\"input_tokens_details\"" : ",\"prompt_tokens_details\"");
  EXPECT_TRUE(first != std::string::npos && last != std::string::npos) << body;
  return body.substr(first, last - first);
}

TEST(Spine, jobs_run_to_their_bodies_and_a_crowd_on_two_workers_changes_no_byte) {
  configure_log(LogLevel::error, LogFormat::text);
  const std::vector<std::string> bodies = varied_bodies();
  std::vector<std::string> alone;
  {
    Spine spine({64, 1, 2});  // wide enough for n = 2, and nobody else
    for (const std::string& body : bodies) {
      const Message message = spine.run({body}).front();
      ASSERT_EQ(message.ending.outcome, Outcome::completed) << message.ending.error_message;
      EXPECT_EQ(message.ending.status_code, 200);
      EXPECT_GT(message.ending.completion_tokens, 0);
      alone.push_back(promised_part(message.ending.body));
    }
  }
  Spine crowd({24, 2, 6});  // not enough for all: most are parked for a while
  const std::vector<Message> messages = crowd.run(bodies);
  for (size_t i = 0; i < bodies.size(); ++i) {
    ASSERT_EQ(messages[i].ending.outcome, Outcome::completed) << messages[i].ending.error_message;
    EXPECT_EQ(promised_part(messages[i].ending.body), alone[i]) << "body " << i;
  }
  EXPECT_LE(crowd.model().peak, Blocks{24});
}

std::string body_about(const std::string& subject) {
  return R"({"messages":[{"role":"user","content":"A long system prompt that all begin with, so )"
         R"(that there are blocks to share: )" +
         std::string(200, 'x') + subject + R"("}],"max_tokens":4,"temperature":0})";
}

// What a tenant can see of a job: tokens that were shared, as its own result says, and those that
// the engine had to compute, which is its time.
struct Cost {
  std::string shared;
  int64_t computed_tokens = 0;
  friend bool operator==(const Cost&, const Cost&) = default;
};
std::ostream& operator<<(std::ostream& out, const Cost& cost) {
  return out << cost.shared << " and " << cost.computed_tokens << " computed";
}

Cost cost_of(Spine& spine, const std::string& tenant, const std::string& subject) {
  const int64_t before = spine.engine().prompt_tokens;
  const std::string body = spine.run({body_about(subject)}, tenant).front().ending.body;
  const size_t at = body.find("\"shared_tokens\":");
  EXPECT_NE(at, std::string::npos) << body;
  return {body.substr(at, body.find_first_of(",}", at) - at),
          spine.engine().prompt_tokens - before};
}

TEST(Spine, what_a_job_costs_tells_a_tenant_nothing_of_anothers_prompts) {
  configure_log(LogLevel::error, LogFormat::text);
  Spine quiet({64, 1, 2});
  const Cost first = cost_of(quiet, "bob", "one");
  const Cost second = cost_of(quiet, "bob", "two");
  EXPECT_LT(second.computed_tokens, first.computed_tokens) << "bob's jobs share with each other";
  Spine busy({64, 1, 2});
  for (const char* subject : {"one", "two", "three"}) (void)cost_of(busy, "alice", subject);
  EXPECT_EQ(cost_of(busy, "bob", "one"), first);
  (void)cost_of(busy, "alice", "two");
  EXPECT_EQ(cost_of(busy, "bob", "two"), second);
  Spine open({64, 1, 2, true});
  (void)cost_of(open, "alice", "one");
  EXPECT_EQ(cost_of(open, "bob", "two"), second) << "with prefix_sharing: all bob has alice's";
}

}  // namespace
}  // namespace parkd
