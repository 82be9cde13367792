// The table of URLs: what is made from it, and README's table beside it.
#include "daemon/api/routes.h"

#include <gtest/gtest.h>

#include <fstream>
#include <list>
#include <sstream>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/daemon/api_world.h"

namespace parkd::testing {
namespace {

bool holds(const std::string& text, std::string_view part) {
  return text.find(part) != text.npos;
}

// "| `GET /v1/batches?after=&limit=` | ... |", as README has it.
std::string readme_row(const Route& route) {
  std::string url = route.name();
  std::istringstream names{std::string(route.query)};
  for (std::string name; names >> name;) {
    url += (holds(url, "?") ? "&" : "?") + name + "=";
  }
  return "| `" + url + "` | " + std::string(route.summary) + " |\n";
}

TEST(Routes, readme_has_this_table) {
  std::string table = "| request | answer |\n| --- | --- |\n";
  for (const Route& route : routes()) table += readme_row(route);
  std::ifstream file(PARKD_SOURCE_DIR "/README.md");
  std::stringstream readme;
  readme << file.rdbuf();
  EXPECT_TRUE(holds(readme.str(), "\n" + table + "\n"))
      << "README.md, \"HTTP on the socket\", must have:\n"
      << table;
}

TEST(Routes, each_is_found_by_a_path_of_its_own) {
  for (const Route& route : routes()) {
    std::string path(route.path);
    for (const std::string word : {"ID", "KEY", "NAME"}) {
      if (const size_t at = path.find(word); at != path.npos) path.replace(at, word.size(), "a-b");
    }
    SCOPED_TRACE(route.name());
    const RouteMatch match = match_route(route.method, path);
    EXPECT_EQ(match.route, &route);
    EXPECT_EQ(match.part, holds(path, "a-b") ? "a-b" : "");
    EXPECT_EQ(match_route("PATCH", path).route, nullptr);
    EXPECT_TRUE(holds(match_route("PATCH", path).allow, route.method));
    EXPECT_FALSE(route.summary.empty());
  }
  EXPECT_EQ(match_route("GET", "/v1/mailbox/a/b").part, "a/b") << "a key may hold slashes";
  EXPECT_EQ(match_route("GET", "/v1/jobs/a/b").route, nullptr);
}

// The paths of jobs stand in lib/job/endpoints.h; the table repeats them.
TEST(Routes, each_endpoint_of_jobs_has_one_that_waits_for_its_answer_and_no_other_does) {
  const Route* first = match_route("POST", kEndpoints[0].path).route;
  ASSERT_NE(first, nullptr);
  std::vector<std::string_view> wait;
  for (const Route& route : routes()) {
    if (route.verb == first->verb) wait.push_back(route.path);
  }
  std::vector<std::string_view> paths;
  for (const EndpointPath& endpoint : kEndpoints) paths.push_back(endpoint.path);
  EXPECT_EQ(wait, paths);
}

TEST(Routes, a_query_parameter_that_the_url_does_not_know_is_refused_by_name) {
  ApiWorld world;
  RawPeer peer = world.peer();
  const RawAnswer odd = peer.call("GET", "/v1/batches?after=x&colour=red");
  EXPECT_EQ(odd.status, 400);
  EXPECT_TRUE(holds(odd.body, "unknown query parameter colour; there are after, limit"))
      << odd.body;
  const RawAnswer none = peer.call("POST", "/v1/jobs/7/cancel?force=1");
  EXPECT_EQ(none.status, 400);
  EXPECT_TRUE(holds(none.body, "unknown query parameter force\"")) << none.body;
}

TEST(Routes, metrics_count_answers_by_route_and_status) {
  ApiWorld world;
  RawPeer peer = world.peer();
  EXPECT_EQ(peer.call("GET", "/v1/jobs/7").status, 404);
  EXPECT_EQ(peer.call("GET", "/v1/jobs/8").status, 404);
  EXPECT_EQ(world.metric("parkd_answers_total{route=\"GET /v1/jobs/ID\",status=\"404\"}"), 2);
}

TEST(Routes, a_body_over_its_routes_limit_is_413_with_route_size_and_limit) {
  ApiWorld world;
  struct Case {
    const char* target;
    const char* route;
    size_t limit;
  };
  const Case cases[] = {{"/v1/jobs/requeue", "POST /v1/jobs/requeue", 512 << 10},
                        {"/v1/batches", "POST /v1/batches", 512 << 10},
                        {"/v1/batches/b/seal", "POST /v1/batches/ID/seal", 4 << 10},
                        {"/v1/batches/b/cancel", "POST /v1/batches/ID/cancel", 4 << 10},
                        {"/v1/jobs/1/cancel", "POST /v1/jobs/ID/cancel", 4 << 10},
                        {"/v1/mailbox/a/b/take", "POST /v1/mailbox/KEY/take", 64 << 10},
                        {"/v1/jobs", "POST /v1/jobs (daemon.max_request_bytes)", 64 << 20}};
  for (const Case& each : cases) {
    SCOPED_TRACE(each.target);
    RawPeer peer = world.peer();
    const std::string body(each.limit + 1, ' ');
    const RawAnswer answer = peer.call("POST", each.target, body);
    EXPECT_EQ(answer.status, 413);
    for (const std::string& part :
         {std::string(each.route), std::to_string(each.limit), std::to_string(each.limit + 1)}) {
      EXPECT_TRUE(holds(answer.body, part)) << part << " is not in " << answer.body;
    }
    RawPeer chunked = world.peer();
    ASSERT_TRUE(chunked.send("POST " + std::string(each.target) +
                             " HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n" +
                             "7fffffff\r\n" + body.substr(0, 100)));
    EXPECT_EQ(chunked.read().status, 413);
  }
  EXPECT_EQ(world.parsing().used_bytes, 0u);
}

TEST(Routes, another_method_is_405_with_those_there_are) {
  ApiWorld world;
  RawPeer peer = world.peer();
  struct Case {
    const char* method;
    const char* target;
    const char* allow;
  };
  const Case cases[] = {{"DELETE", "/v1/jobs", "Allow: GET, HEAD, POST\r\n"},
                        {"POST", "/v1/jobs/7", "Allow: GET, HEAD\r\n"},
                        {"POST", "/metrics", "Allow: GET, HEAD\r\n"},
                        {"GET", "/v1/jobs/requeue", "Allow: POST\r\n"},
                        {"GET", "/v1/batches/b/seal", "Allow: POST\r\n"},
                        {"PUT", "/v1/mailbox/k/take", "Allow: GET, HEAD, POST\r\n"}};
  for (const Case& each : cases) {
    SCOPED_TRACE(std::string(each.method) + " " + each.target);
    const RawAnswer answer = peer.call(each.method, each.target);
    EXPECT_EQ(answer.status, 405) << answer.body;
    EXPECT_TRUE(holds(answer.head, each.allow)) << answer.head;
  }
  EXPECT_EQ(peer.call("GET", "/v1/jobs/1/2").status, 404);
  EXPECT_EQ(peer.call("GET", "/v1/mailbox/").status, 404);
}

TEST(LongPoll, one_whose_client_has_gone_gives_its_place_back_and_a_half_closed_one_waits) {
  ApiWorld world;
  const std::string poll = RawPeer::request("GET", "/v1/mailbox/k?wait_s=60");
  RawPeer patient = world.peer();
  ASSERT_TRUE(patient.send(poll));
  ASSERT_EQ(::shutdown(patient.fd(), SHUT_WR), 0);
  {
    std::list<RawPeer> gone;
    for (int i = 0; i < 20; ++i) {
      gone.push_back(world.peer());
      ASSERT_TRUE(gone.back().send(poll));
    }
    while (world.metric("parkd_connections") != 22) std::this_thread::yield();
  }
  while (world.metric("parkd_connections") != 2) std::this_thread::yield();
  world.complete_a_job("k", "{}");
  world.wake("k");
  EXPECT_TRUE(holds(patient.read().body, "\"outcome\":\"completed\""));
}

}  // namespace
}  // namespace parkd::testing
