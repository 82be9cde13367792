// What a request can make the daemon allocate, and where: every allocation of this program is
// counted, those of the control thread apart.
#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <boost/json.hpp>
#include <cstdlib>
#include <new>
#include <thread>
#include <vector>

#include "lib/openai/chat_messages.h"
#include "lib/openai/chat_request.h"
#include "lib/openai/completions_request.h"
#include "lib/openai/submit.h"
#include "lib/openai/wire.h"
#include "tests/daemon/api_world.h"

namespace {

thread_local bool is_control = false;
thread_local bool is_test = false;  // the peer's side, which never lacks memory

struct Counts {
  std::atomic<size_t> live_bytes{0};
  std::atomic<size_t> peak_bytes{0};
  std::atomic<size_t> control_largest{0};
  std::atomic<size_t> control_bytes{0};      // but for blocks of bodies
  std::atomic<size_t> fail_from{SIZE_MAX};   // allocations of at least so many bytes fail
  std::atomic<bool> fail_on_control{false};  // there, else on the other threads
  std::atomic<int> failed{0};
};
Counts counts;

void raise_to(std::atomic<size_t>& most, size_t value) {
  size_t seen = most;
  while (value > seen && !most.compare_exchange_weak(seen, value)) {
  }
}

void* allocate_or_null(size_t bytes, size_t alignment) noexcept {
  if (bytes >= counts.fail_from && !is_test && is_control == counts.fail_on_control) {
    ++counts.failed;
    return nullptr;
  }
  if (is_control) {
    raise_to(counts.control_largest, bytes);
    if (bytes != parkd::kBlockBytes) counts.control_bytes += bytes;
  }
  void* memory =
      alignment > alignof(std::max_align_t)
          ? std::aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment)
          : std::malloc(bytes);
  if (memory != nullptr)
    raise_to(counts.peak_bytes, counts.live_bytes += ::malloc_usable_size(memory));
  return memory;
}

void* allocate(size_t bytes, size_t alignment) {
  void* const memory = allocate_or_null(bytes, alignment);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

void release(void* memory) noexcept {
  if (memory == nullptr) return;
  counts.live_bytes -= ::malloc_usable_size(memory);
  std::free(memory);
}

}  // namespace

void* operator new(size_t bytes) {
  return allocate(bytes, 0);
}
void* operator new[](size_t bytes) {
  return allocate(bytes, 0);
}
void* operator new(size_t bytes, std::align_val_t alignment) {
  return allocate(bytes, static_cast<size_t>(alignment));
}
void* operator new[](size_t bytes, std::align_val_t alignment) {
  return allocate(bytes, static_cast<size_t>(alignment));
}
void* operator new(size_t bytes, const std::nothrow_t&) noexcept {
  return allocate_or_null(bytes, 0);
}
void* operator new[](size_t bytes, const std::nothrow_t&) noexcept {
  return allocate_or_null(bytes, 0);
}
void operator delete(void* memory) noexcept {
  release(memory);
}
void operator delete[](void* memory) noexcept {
  release(memory);
}
void operator delete(void* memory, size_t) noexcept {
  release(memory);
}
void operator delete[](void* memory, size_t) noexcept {
  release(memory);
}
void operator delete(void* memory, std::align_val_t) noexcept {
  release(memory);
}
void operator delete[](void* memory, std::align_val_t) noexcept {
  release(memory);
}
void operator delete(void* memory, size_t, std::align_val_t) noexcept {
  release(memory);
}
void operator delete[](void* memory, size_t, std::align_val_t) noexcept {
  release(memory);
}

namespace parkd::testing {
namespace {

constexpr size_t kSmall = 64 << 10;  // what control may make at a time, and of a request in all

class ApiBounds : public ::testing::Test {
 protected:
  static ApiWorldOptions watched() {
    ApiWorldOptions options;
    options.on_control_start = [] { is_control = true; };
    return options;
  }

  void SetUp() override { is_test = true; }
  void TearDown() override { counts.fail_from = SIZE_MAX; }

  // Makes a call on a connection that is used already, and holds control to its bounds.
  static RawAnswer call(RawPeer& peer, const char* method, const std::string& target,
                        const std::string& body) {
    counts.control_largest = 0;
    counts.control_bytes = 0;
    RawAnswer answer = peer.call(method, target, body);
    EXPECT_LE(counts.control_largest, kBlockBytes) << method << " " << target;
    EXPECT_LE(counts.control_bytes, kSmall) << method << " " << target;
    return answer;
  }
};

std::string some_jobs(size_t bytes) {
  std::string jobs = R"({"jobs":[)";
  while (jobs.size() < bytes) {
    jobs += R"({"body":{"messages":[{"role":"user","content":")" + std::string(20'000, 'x') +
            R"("}]},"model":"none"},)";
  }
  jobs.back() = ']';
  return jobs + "}";
}

TEST_F(ApiBounds, control_makes_nothing_large_of_any_routes_body) {
  ApiWorld world(watched());
  RawPeer peer = world.peer();
  ASSERT_EQ(peer.call("GET", "/healthz").status, 200);
  EXPECT_EQ(call(peer, "POST", "/v1/jobs", some_jobs(16 << 20)).status, 400);

  std::string ids = R"({"ids":[)";
  for (int id = 1'000'000; id < 1'010'000; ++id) ids += std::to_string(id) + ",";
  ids.back() = ']';
  EXPECT_EQ(call(peer, "POST", "/v1/jobs/requeue", ids + "}").status, 202);

  const std::string metadata =
      R"({"metadata":{"k":")" + std::string(65'000, 'x') + R"("}})" + std::string(5000, ' ');
  EXPECT_EQ(call(peer, "POST", "/v1/batches", metadata).status, 201);
  EXPECT_EQ(call(peer, "GET", "/v1/batches", "").status, 200);

  std::string cursors = R"({"cursors":[)";
  for (uint64_t i = 100; i < 1100; ++i) cursors += "\"" + render_cursor(i) + "\",";
  cursors.back() = ']';
  EXPECT_EQ(call(peer, "POST", "/v1/mailbox/k/take", cursors + "}").status, 200);
}

TEST_F(ApiBounds, control_makes_nothing_large_of_any_routes_answer) {
  ApiWorld world(watched());
  for (int i = 0; i < 20; ++i) {
    world.complete_a_job("k", "{\"text\":\"" + std::string(500'000, 'x') + "\"}");
  }
  JobSpec spec;
  spec.model = "m";
  spec.body = "{}";
  spec.metadata = "{\"k\":\"" + std::string(9000, 'x') + "\"}";
  ASSERT_TRUE(world.store().submit(std::vector<JobSpec>(1000, spec)).ok());
  RawPeer peer = world.peer();
  ASSERT_EQ(peer.call("GET", "/healthz").status, 200);
  EXPECT_GT(call(peer, "GET", "/v1/mailbox/k", "").body.size(), 10'000'000u);
  EXPECT_GT(call(peer, "GET", "/v1/jobs/1", "").body.size(), 500'000u);
  EXPECT_GT(call(peer, "GET", "/v1/jobs?limit=1000", "").body.size(), 100'000u);
  for (const char* target : {"/metrics", "/readyz", "/v1/pool", "/v1/models"}) {
    EXPECT_EQ(call(peer, "GET", target, "").status, 200);
  }
  EXPECT_GT(call(peer, "POST", "/v1/mailbox/k/take", R"({"limit":20})").body.size(), 10'000'000u);
}

TEST_F(ApiBounds, a_page_ends_where_one_answer_does_and_its_cursor_goes_on_there) {
  ApiWorld world;
  for (int i = 0; i < 5; ++i) world.complete_a_job("k", std::string(10 << 20, '1'));
  RawPeer peer = world.peer();
  const std::string first = peer.call("GET", "/v1/mailbox/k").body;
  EXPECT_LT(first.size(), 33u << 20);
  const size_t at = first.rfind("\"next_cursor\":\"");
  ASSERT_NE(at, first.npos);
  const std::string cursor = first.substr(at + 15, first.find('"', at + 15) - at - 15);
  const std::string second = peer.call("GET", "/v1/mailbox/k?cursor=" + cursor).body;
  EXPECT_GT(second.size(), 20u << 20);
  EXPECT_LT(second.size(), 21u << 20) << "three came first, two are left";
}

// Every value of two bytes would be one of 24.
std::string tiny_values(size_t bytes) {
  std::string text = R"({"jobs":[)";
  while (text.size() < bytes) text += "0,";
  text.back() = ']';
  return text + "}";
}

TEST_F(ApiBounds, small_values_are_refused_at_16_times_the_body_and_the_budget_holds_for_all) {
  constexpr size_t kBody = 2 << 20;
  ApiWorldOptions options;
  options.parse_bytes_max = 64u << 20;
  ApiWorld world(options);
  const std::string body = tiny_values(kBody);
  RawPeer peer = world.peer();
  const size_t before = counts.live_bytes;
  counts.peak_bytes = before;
  const RawAnswer alone = peer.call("POST", "/v1/jobs", body);
  EXPECT_EQ(alone.status, 400) << alone.body;
  EXPECT_NE(alone.body.find("too many small values"), std::string::npos) << alone.body;
  EXPECT_LE(counts.peak_bytes - before, 18 * kBody + (2u << 20))
      << "the body, its text, 16 times it";
  while (world.parsing().used_bytes > 0) std::this_thread::yield();

  counts.peak_bytes = before;
  std::vector<std::thread> peers;
  std::atomic<int> refused{0};
  for (int i = 0; i < 6; ++i) {
    peers.emplace_back([&] {
      const RawAnswer answer = world.peer().call("POST", "/v1/jobs", body);
      const bool later =
          answer.status == 503 && answer.head.find("Retry-After") != std::string::npos;
      if (answer.status == 400 || later) ++refused;
    });
  }
  for (std::thread& each : peers) each.join();
  EXPECT_EQ(refused, 6);
  EXPECT_LE(world.parsing().peak_bytes, options.parse_bytes_max);
  // The text of a body is there twice while it is put together; the peers hold theirs too.
  EXPECT_LE(counts.peak_bytes - before,
            options.parse_bytes_max + 6 * kBody + 6 * kBody + (8u << 20));
  EXPECT_EQ(world.metric("parkd_parse_bytes_limit"), int64_t{64} << 20);
  EXPECT_GE(world.metric("parkd_parse_bytes_peak"), static_cast<int64_t>(kBody));
}

std::string repeated(const std::string& start, const std::function<std::string(int)>& part,
                     const std::string& end) {
  constexpr size_t kBody = 1 << 20;
  std::string text = start;
  for (int i = 0; text.size() < kBody; ++i) text += part(i) + ",";
  text.pop_back();
  return text + end;
}

TEST_F(ApiBounds, a_chat_body_takes_16_times_itself_at_most_whatever_it_is_made_of) {
  constexpr size_t kBody = 1 << 20;
  const std::string bodies[] = {
      repeated(R"({"messages":[)", [](int) { return std::string("{}"); }, "]}"),
      repeated(R"({"messages":[)", [](int) { return std::string("[0]"); }, "]}"),
      repeated(R"({"stop":[)", [](int) { return std::string("0"); }, "]}"),
      repeated(R"({"logit_bias":{)", [](int i) { return "\"" + std::to_string(i) + "\":0"; }, "}}"),
      repeated(
          "{", [](int i) { return "\"k" + std::to_string(i) + "\":1"; }, "}"),
      repeated(R"({"messages":[)",
               [](int) { return std::string(R"({"role":"user","content":""})"); }, "]}"),
      R"({"seed":")" + std::string(kBody, 'x') + "\"}",
  };
  for (const std::string& body : bodies) {
    SCOPED_TRACE(body.substr(0, 40));
    const size_t before = counts.live_bytes;
    counts.peak_bytes = before;
    const auto request = parse_chat_request(body, {});
    EXPECT_LE(counts.peak_bytes - before, 18 * kBody);
    const size_t shown_bytes = request.ok() ? 0 : request.status().message().size();
    EXPECT_LT(shown_bytes, 300u);
  }
  const std::string wrong = R"({"body":{},"max_attempts":[)" + std::string(1000, '1') + "]}";
  EXPECT_LT(parse_submit(wrong, {}).status().message().size(), 200u);
}

TEST_F(ApiBounds, a_body_of_prompts_takes_16_times_itself_at_most_whatever_they_are) {
  constexpr size_t kBody = 1 << 20;
  const std::string many = std::string(kBody / 2040, 'x');
  const std::string bodies[] = {
      repeated(R"({"prompt":[)", [](int) { return std::string("7"); }, "]}"),
      repeated(R"({"prompt":[)", [](int) { return std::string("[7]"); }, "]}"),
      repeated(R"({"prompt":[)", [](int) { return std::string(R"("x")"); }, "]}"),
      repeated(R"({"prompt":[)", [](int) { return std::string("123456"); }, "]}"),
      repeated(R"({"prompt":[[)", [](int) { return std::string("123456"); }, "]]}"),
      repeated(R"({"prompt":[)", [&](int) { return '"' + many + '"'; }, "]}"),
  };
  int n_read = 0;
  for (const std::string& body : bodies) {
    SCOPED_TRACE(body.substr(0, 40));
    const size_t before = counts.live_bytes;
    counts.peak_bytes = before;
    const auto request = parse_completions_request(body, {});
    EXPECT_LE(counts.peak_bytes - before, 18 * kBody);
    n_read += request.ok() ? 1 : 0;
  }
  EXPECT_EQ(n_read, 3) << "token ids of some length, and some two thousand texts";
}

// Room for messages that could be some, and nothing for each that is none.
TEST_F(ApiBounds, messages_that_are_none_take_no_memory_beside_their_values) {
  constexpr size_t kBody = 1 << 20;
  std::string list = "[1";
  while (list.size() < kBody) list += ",1";
  list += "]";
  const boost::json::value values = boost::json::array(kBody / 2, 1);
  const size_t before = counts.live_bytes;
  counts.peak_bytes = before;
  std::vector<ChatMessage> messages;
  const Status refused = read_messages("messages", values, list, messages);
  EXPECT_EQ(refused.param(), "messages[0]") << refused.to_string();
  const size_t shortest = std::string_view(R"({"role":"user","content":""})").size();
  EXPECT_LE(counts.peak_bytes - before, list.size() / shortest * sizeof(ChatMessage) + kSmall);
}

TEST_F(ApiBounds, a_body_that_finds_no_room_is_503_with_retry_after_before_it_is_sent) {
  ApiWorldOptions options;
  options.parse_bytes_max = 1 << 20;
  ApiWorld world(options);
  RawPeer holder = world.peer();
  ASSERT_TRUE(holder.send("POST /v1/jobs HTTP/1.1\r\nHost: p\r\nContent-Length: 900000\r\n\r\n{"));
  RawPeer peer = world.peer();
  while (world.parsing().used_bytes < 900'000) std::this_thread::yield();
  ASSERT_TRUE(
      peer.send("POST /v1/jobs HTTP/1.1\r\nHost: p\r\nExpect: 100-continue\r\n"
                "Content-Length: 200000\r\n\r\n"));
  const RawAnswer answer = peer.read();
  EXPECT_EQ(answer.status, 503) << answer.body;
  EXPECT_NE(answer.head.find("Retry-After: "), std::string::npos) << answer.head;
  EXPECT_NE(answer.body.find("1048576"), std::string::npos) << "no limit in " << answer.body;
  holder.close();
  while (world.parsing().used_bytes > 0) std::this_thread::yield();
  EXPECT_EQ(world.metric("parkd_parse_refused_total"), 1);
}

TEST_F(ApiBounds, out_of_memory_is_that_requests_503) {
  ApiWorld world(watched());
  RawPeer peer = world.peer();
  ASSERT_EQ(peer.call("GET", "/healthz").status, 200);
  const auto fail = [](size_t from, bool on_control) {
    counts.failed = 0;
    counts.fail_on_control = on_control;
    counts.fail_from = from;
  };
  const std::string jobs = some_jobs(1 << 20);
  for (int i = 0; i < 3; ++i) world.complete_a_job("k", std::string(1 << 20, '1'));
  struct Case {
    const char* method;
    const char* target;
    std::string body;
    bool on_control;
  };
  const Case cases[] = {
      {"POST", "/v1/jobs", jobs, false},    // the text of the body
      {"POST", "/v1/jobs", jobs, true},     // a block of the body
      {"GET", "/v1/mailbox/k", "", false},  // the page
      {"GET", "/v1/mailbox/k?wait_s=1", "", false},
      {"GET", "/v1/jobs/1", "", false},
  };
  for (const Case& each : cases) {
    SCOPED_TRACE(std::string(each.method) + " " + each.target);
    RawPeer one = world.peer();
    ASSERT_EQ(one.call("GET", "/healthz").status, 200);
    fail(each.on_control ? kBlockBytes : 500'000, each.on_control);
    const std::string request = RawPeer::request(each.method, each.target, each.body);
    counts.fail_on_control = each.on_control;
    ASSERT_TRUE(one.send(request));
    const RawAnswer answer = one.read();
    EXPECT_EQ(answer.status, 503) << answer.body;
    EXPECT_NE(answer.body.find("memory"), std::string::npos) << answer.body;
    EXPECT_GT(counts.failed, 0);
    counts.fail_from = SIZE_MAX;
    EXPECT_EQ(peer.call("GET", "/healthz").status, 200);
  }
  while (world.parsing().used_bytes > 0) std::this_thread::yield();
}

TEST_F(ApiBounds, answers_that_nobody_reads_are_bounded_and_a_taken_one_is_told) {
  ApiWorldOptions options;
  options.answer_bytes_max = 8 << 20;
  ApiWorld world(options);
  for (int i = 0; i < 6; ++i) world.complete_a_job("k", std::string(1 << 20, '1'));
  RawPeer lazy = world.peer();
  ASSERT_TRUE(lazy.send(RawPeer::request("GET", "/v1/mailbox/k")));
  pollfd has_begun{lazy.fd(), POLLIN, 0};
  ASSERT_EQ(::poll(&has_begun, 1, 300'000), 1);  // it is written, and nobody reads it
  const RawAnswer answer = world.peer().call("GET", "/v1/mailbox/k");
  EXPECT_EQ(answer.status, 503) << answer.head;
  EXPECT_NE(answer.head.find("Retry-After: "), std::string::npos);
  EXPECT_EQ(world.peer().call("GET", "/healthz").status, 200);
  EXPECT_EQ(world.peer().call("POST", "/v1/mailbox/k/take", R"({"limit":6})").status, 200);
  EXPECT_EQ(lazy.read().body.size() >> 20, 6u);
}

}  // namespace
}  // namespace parkd::testing
