// The network between daemons, submitting hosts and the server fails under load: slow, half-open,
// reset, and cut at each side of a commit. What may have been committed is found out, not guessed:
// a finish ends as one message, a submit with an idempotency key as one job, one without a key says
// that it does not know. PARKD_LONG=1 repeats each fault many times over.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/store/postgres/fault_proxy.h"
#include "tests/store/postgres/fault_world.h"
#include "tests/support/store_driver.h"

namespace parkd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Cut = Proxy::Cut;

std::string server_socket() {
  const char* host = std::getenv("PGHOST");
  if (host == nullptr) throw std::runtime_error("run this through tools/pg_sandbox.sh");
  return std::string(host) + "/.s.PGSQL.5432";
}

struct Network {
  FaultWorld& world;
  Proxy& proxy;
};

// Waits until a cut has struck `n` more times, so that the load has met it.
void cut(Network& network, const char* request, Cut where, int n) {
  const int before = network.proxy.n_cut();
  network.proxy.cut(request, where, n);
  EXPECT_TRUE(eventually(seconds(30), [&] { return network.proxy.n_cut() >= before + n; }))
      << "no " << request << " came by";
}

void slow(Network& network) {
  network.proxy.delay(milliseconds(30));
  network.world.run_for(milliseconds(1500));
  network.proxy.delay(milliseconds(0));
}
void half_open(Network& network) {
  network.proxy.silence();
  // The daemons are on their own: statement_limit twice, and their ttl, are over by then.
  network.world.run_for(milliseconds(2500));
  network.proxy.reset();
}
void reset(Network& network) {
  network.proxy.reset();
}
void cut_finish_unsent(Network& network) {
  cut(network, "finish", Cut::unsent, 2);
}
void cut_finish_in_flight(Network& network) {
  cut(network, "finish", Cut::in_flight, 2);
}
void cut_finish_unanswered(Network& network) {
  cut(network, "finish", Cut::unanswered, 2);
}
void cut_claim(Network& network) {
  for (const Cut where : {Cut::unsent, Cut::in_flight, Cut::unanswered}) {
    cut(network, "claim", where, 1);
  }
}
void cut_keyed_submit(Network& network) {
  for (const Cut where : {Cut::unsent, Cut::in_flight, Cut::unanswered}) {
    cut(network, "submit", where, 1);
  }
}
void cut_commit(Network& network) {
  for (const Cut where : {Cut::unsent, Cut::in_flight, Cut::unanswered}) {
    cut(network, "COMMIT", where, 1);
    cut(network, "INSERT", where, 1);
  }
}
void cut_heartbeat(Network& network) {
  for (const Cut where : {Cut::unsent, Cut::in_flight, Cut::unanswered}) {
    cut(network, "heartbeat", where, 1);
  }
}
void cut_anything(Network& network) {
  const auto where = static_cast<Cut>(network.world.random()() % 3);
  cut(network, "", where, 1 + static_cast<int>(network.world.random()() % 5));
}

void nothing_more(Network&) {}

void finishes_in_doubt_were_found_done(Network& network) {
  EXPECT_GT(network.world.reported("already"), 0);
}

void submitters_were_left_in_doubt(Network& network) {
  EXPECT_GT(network.world.check().in_doubt, 0u);
}

// The verbs of the users, on each side of the commit.
void cut_users(Network& network) {
  for (const char* verb : {"take", "COMMIT", "cancel", "requeue", "cancel_batch", "seal_batch"}) {
    cut(network, verb, static_cast<Cut>(network.world.random()() % 3), 1);
  }
}

void everything_happened(Network& network) {
  network.world.expect_users_did_everything();
}

enum class Load { submits, everything };

struct Fault {
  const char* name;
  void (*inject)(Network&);
  int rounds;
  void (*expect)(Network&);
  Load load = Load::submits;
};

constexpr Fault kFaults[] = {
    {"slow", slow, 1, nothing_more},
    {"half_open", half_open, 2, nothing_more},
    {"reset", reset, 15, nothing_more},
    {"finish_cut_before_it_was_sent", cut_finish_unsent, 8, nothing_more},
    {"finish_cut_in_flight", cut_finish_in_flight, 8, nothing_more},
    {"finish_cut_before_its_answer", cut_finish_unanswered, 8, finishes_in_doubt_were_found_done},
    {"claim_cut", cut_claim, 5, nothing_more},
    {"keyed_submit_cut", cut_keyed_submit, 5, nothing_more},
    {"commit_cut", cut_commit, 5, submitters_were_left_in_doubt},
    {"heartbeat_cut", cut_heartbeat, 2, nothing_more},
    {"anything_cut", cut_anything, 20, nothing_more},
    {"everything_and_its_verbs_cut", cut_users, 3, everything_happened, Load::everything},
    {"everything_and_reset", reset, 15, everything_happened, Load::everything},
};

class PostgresNetwork : public testing::Test {
 protected:
  TestDatabase database_;
  Proxy proxy_{server_socket()};
};

class PostgresNetworkFault : public PostgresNetwork, public testing::WithParamInterface<Fault> {};

TEST_P(PostgresNetworkFault, loses_nothing_and_doubles_nothing) {
  const Fault& fault = GetParam();
  FaultWorld::Options options;
  options.daemon_dsn = options.submit_dsn = proxy_.dsn(database_.name());
  if (fault.load == Load::everything) options.with_users();
  FaultWorld world(database_, options);
  Network network{world, proxy_};
  SCOPED_TRACE("seed " + std::to_string(world.seed()));
  ASSERT_TRUE(world.progress(50)) << "no load";
  const int rounds = fault_rounds(fault.rounds);
  for (int round = 0; round < rounds; ++round) {
    fault.inject(network);
    world.run_for(milliseconds(world.random()() % 150));
    if (round % 10 == 9) world.check();
  }
  EXPECT_TRUE(world.progress(50)) << "work does not go on";
  fault.expect(network);
  world.check();
  world.report(fault.name, rounds, world.settle());
}

INSTANTIATE_TEST_SUITE_P(Each, PostgresNetworkFault, testing::ValuesIn(kFaults),
                         [](const auto& fault) { return std::string(fault.param.name); });

// --- what each verb answers, one at a time

JobSpec spec(const std::string& key) {
  JobSpec spec;
  spec.model = "m";
  spec.mailbox_key = "box";
  spec.body = "{}";
  spec.idempotency_key = key;
  return spec;
}

struct Daemon {
  std::unique_ptr<JobStore> store;
  std::unique_ptr<StoreDriver> driver;
  explicit Daemon(const std::string& dsn) {
    auto opened = open_postgres_store(quiet_options(dsn), {});
    EXPECT_TRUE(opened.ok()) << opened.status().to_string();
    store = std::move(opened).value();
    driver = std::make_unique<StoreDriver>(*store);
  }
  ~Daemon() { store->stop(); }
};

TEST_F(PostgresNetwork, a_submit_without_a_key_says_that_it_does_not_know) {
  Daemon daemon(proxy_.dsn(database_.name()));
  ASSERT_TRUE(daemon.driver->submit({spec("")}).ok());
  proxy_.cut("submit", Cut::unanswered, 1);
  EXPECT_EQ(daemon.driver->submit({spec("")}).status().code(), StatusCode::unavailable);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs"), 2) << "it was committed once";
  proxy_.cut("submit", Cut::unsent, 1);
  EXPECT_EQ(daemon.driver->submit({spec("")}).status().code(), StatusCode::unavailable);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs"), 2) << "it was not sent again";
}

TEST_F(PostgresNetwork, a_submit_with_a_key_is_sent_again_and_stays_one_job) {
  Daemon daemon(proxy_.dsn(database_.name()));
  ASSERT_TRUE(daemon.driver->submit({spec("a")}).ok());
  for (const Cut where : {Cut::unsent, Cut::in_flight, Cut::unanswered}) {
    const std::string key = "key" + std::to_string(static_cast<int>(where));
    proxy_.cut("submit", where, 2);
    const auto accepted = daemon.driver->submit({spec(key)});
    ASSERT_TRUE(accepted.ok()) << accepted.status().to_string();
    EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs WHERE idempotency_key = '" + key +
                               "' AND id = " + std::to_string(accepted->at(0).id)),
              1);
    if (where == Cut::unanswered) {
      EXPECT_TRUE(accepted->at(0).existed);
    }
  }
}

TEST_F(PostgresNetwork, a_finish_is_sent_again_and_stays_one_message) {
  Daemon daemon(proxy_.dsn(database_.name()));
  for (const Cut where : {Cut::unsent, Cut::in_flight, Cut::unanswered}) {
    ASSERT_TRUE(daemon.driver->submit({spec("")}).ok());
    const auto jobs = daemon.driver->claim("m", 1);
    ASSERT_EQ(jobs->size(), 1u);
    proxy_.cut("finish", where, 3);
    Ending ending;
    ending.body = "{}";
    const auto answers = daemon.driver->finish({{jobs->at(0).id, jobs->at(0).lease, ending}});
    ASSERT_TRUE(answers.ok()) << answers.status().to_string();
    if (where == Cut::unsent) {
      EXPECT_EQ(answers->at(0), FinishAnswer::finished_now);
    } else if (where == Cut::unanswered) {
      EXPECT_EQ(answers->at(0), FinishAnswer::already_by_this_lease);
    } else {
      EXPECT_NE(answers->at(0), FinishAnswer::lease_lost);
    }
    EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.mailbox WHERE job_id = " +
                               std::to_string(jobs->at(0).id)),
              1);
  }
}

TEST_F(PostgresNetwork, a_peer_that_goes_silent_before_the_first_statement_is_left) {
  PostgresOptions options = quiet_options(proxy_.dsn(database_.name()));
  options.statement_limit = milliseconds(300);
  options.ttl = milliseconds(3000);  // of the listener's statements a sixth
  options.listen = true;
  for (const char* first : {"SET", "LISTEN"}) {
    const int before = proxy_.n_cut();
    proxy_.cut(first, Cut::unheard, 1);
    auto opened = open_postgres_store(options, {});
    ASSERT_TRUE(opened.ok()) << opened.status().to_string();
    StoreDriver driver(**opened);
    EXPECT_TRUE(eventually(seconds(30), [&] {
      return driver.claim("m", 1).ok() && driver.submit({spec("")}).ok();
    })) << first;
    EXPECT_EQ(proxy_.n_cut(), before + 1);
    (*opened)->stop();
  }
  // And one that stops while nobody answers.
  auto opened = open_postgres_store(options, {});
  ASSERT_TRUE(opened.ok()) << opened.status().to_string();
  proxy_.silence();
  (*opened)->stop();
}

TEST_F(PostgresNetwork, what_a_lost_claim_took_is_claimed_again) {
  Daemon daemon(proxy_.dsn(database_.name()));
  ASSERT_TRUE(daemon.driver->submit({spec(""), spec("")}).ok());
  proxy_.cut("claim", Cut::unanswered, 1);
  EXPECT_EQ(daemon.driver->claim("m", 2).status().code(), StatusCode::unavailable);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs WHERE state = 'claimed'"), 2);
  EXPECT_EQ(daemon.driver->claim("m", 2)->size(), 2u) << "given back first";
  EXPECT_EQ(database_.number("SELECT sum(attempts + interruptions) FROM parkd.jobs"), 0);
}

}  // namespace
}  // namespace parkd
