// How much of connections and memory a peer may have.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <list>
#include <string>
#include <thread>

#include "lib/http/byte_budget.h"
#include "lib/http/connections.h"
#include "tests/http/http_world.h"

namespace parkd::testing {
namespace {

constexpr uid_t kSomebody = 3'999'999'999u;  // not root, not us
constexpr uid_t kAnother = kSomebody - 1;

bool holds(const std::string& text, std::string_view part) {
  return text.find(part) != text.npos;
}

TEST(Connections, one_user_has_half_and_the_last_are_kept_for_root_and_the_daemons_user) {
  Connections connections(64);
  for (int i = 0; i < 32; ++i) ASSERT_TRUE(connections.enter(unix_peer(kSomebody)).ok());
  const Status half = connections.enter(unix_peer(kSomebody));
  EXPECT_EQ(half.code(), StatusCode::unavailable);
  EXPECT_TRUE(holds(half.message(), "32")) << half.message();
  EXPECT_TRUE(holds(half.message(), "daemon.connections_max")) << half.message();
  for (int i = 0; i < 16; ++i) ASSERT_TRUE(connections.enter(unix_peer(kAnother)).ok());
  EXPECT_FALSE(connections.enter(unix_peer(kAnother)).ok()) << "the last 16 are kept";
  for (int i = 0; i < 16; ++i) ASSERT_TRUE(connections.enter(unix_peer(0)).ok());
  EXPECT_FALSE(connections.enter(unix_peer(0)).ok());
  connections.leave(unix_peer(kSomebody));
  EXPECT_TRUE(connections.enter(unix_peer(::geteuid())).ok());
  EXPECT_EQ(connections.figures().open, 64);
  EXPECT_EQ(connections.figures().refused, 3);
}

// A child: who has lowered the hard limit never gets it back.
int possible_with_files(rlim_t n_files, int wanted) {
  const pid_t child = ::fork();
  if (child == 0) {
    const rlimit limit{n_files / 2, n_files};
    if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) ::_exit(1);
    rlimit now{};
    const bool as_wanted = connections_possible(wanted) == wanted;
    (void)::getrlimit(RLIMIT_NOFILE, &now);
    ::_exit(now.rlim_cur != n_files ? 2 : as_wanted ? 3 : 4);
  }
  int end = 0;
  ::waitpid(child, &end, 0);
  return WIFEXITED(end) ? WEXITSTATUS(end) : -1;
}

TEST(Connections, files_that_are_no_connections_are_kept_from_them) {
  EXPECT_EQ(connections_of_files(100), 50);
  EXPECT_EQ(connections_of_files(4096), 2048);
  EXPECT_EQ(connections_of_files(65'536), 63'488);
  constexpr int kAsWanted = 3;
  constexpr int kLowered = 4;
  EXPECT_EQ(possible_with_files(512, 256), kAsWanted);
  EXPECT_EQ(possible_with_files(512, 257), kLowered);
  EXPECT_EQ(possible_with_files(6000, 3952), kAsWanted);
  EXPECT_EQ(possible_with_files(6000, 3953), kLowered);
}

TEST(Connections, one_too_many_reads_a_503_with_the_reason) {
  HttpServer::Options options;
  options.connections_max = 32;
  HttpWorld world(options);
  std::list<RawPeer> peers;
  for (int i = 0; i < 32; ++i) {
    peers.push_back(world.peer());
    ASSERT_EQ(peers.back().call("GET", "/ok").status, 200) << i;
  }
  for (int i = 0; i < 100; ++i) {
    RawPeer late = world.peer();
    late.send(RawPeer::request("GET", "/ok"));
    const RawAnswer answer = late.read();
    ASSERT_EQ(answer.status, 503) << i;
    EXPECT_TRUE(holds(answer.head, "Retry-After: ")) << answer.head;
    EXPECT_TRUE(holds(answer.body, "daemon.connections_max, 32")) << answer.body;
  }
  peers.pop_back();
  while (world.peer().call("GET", "/ok").status == 503) std::this_thread::yield();
  EXPECT_EQ(world.figures().connections.max, 32);
  EXPECT_GE(world.figures().connections.refused, 100);
}

TEST(ByteBudget, a_user_has_half_and_what_goes_is_given_back) {
  ByteBudget budget("requests", 1000);
  ByteBudget::Charge one(budget, unix_peer(kSomebody));
  EXPECT_TRUE(one.grow(400).ok());
  EXPECT_EQ(one.grow(101).code(), StatusCode::unavailable);
  EXPECT_TRUE(one.grow(100).ok());
  {
    ByteBudget::Charge two(budget, unix_peer(kAnother));
    EXPECT_TRUE(two.grow(300).ok());
    ByteBudget::Charge root(budget, unix_peer(0));
    const Status refused = root.grow(201);
    EXPECT_TRUE(holds(refused.message(), "1000")) << refused.message();
    EXPECT_TRUE(root.grow(200).ok()) << "root has all that is left";
  }
  EXPECT_EQ(budget.figures().used_bytes, 500u);
  EXPECT_EQ(budget.figures().peak_bytes, 1000u);
  EXPECT_EQ(budget.figures().refused, 2);
  one.shrink_to(20);
  EXPECT_EQ(budget.figures().used_bytes, 20u);
}

TEST(Principal, acts_for_its_tenant_and_a_privileged_one_for_all) {
  Principal peer = unix_peer(kSomebody);
  EXPECT_FALSE(peer.is_privileged);
  peer.tenant = "lab";
  EXPECT_TRUE(peer.may_act_for("lab").ok());
  const Status refused = peer.may_act_for("other");
  EXPECT_EQ(refused.code(), StatusCode::denied);
  EXPECT_EQ(refused.param(), "tenant");
  EXPECT_EQ(peer.any_or_own(), "lab");
  Principal root = unix_peer(0);
  root.tenant = "root";
  EXPECT_TRUE(root.may_act_for("other").ok());
  EXPECT_EQ(root.any_or_own(), "");
  root.named_its_tenant = true;
  EXPECT_EQ(root.any_or_own(), "root");
  EXPECT_FALSE(unix_peer(static_cast<uid_t>(-1)).is_privileged);
}

TEST(Principal, of_no_tenant_sees_nobodys_jobs_instead_of_everybodys) {
  EXPECT_DEATH((void)unix_peer(kSomebody).any_or_own(), "uid 3999999999");
  EXPECT_EQ(unix_peer(0).any_or_own(), "");
}

}  // namespace
}  // namespace parkd::testing
