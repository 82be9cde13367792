// Processes, sessions, the server and the clock fail under load: several daemon processes and
// several submitting hosts on one real server, with fsync. Each fault is a function; every fault is
// held against every check of FaultWorld. PARKD_LONG=1 repeats each ten times as often.
#include <gtest/gtest.h>
#include <signal.h>

#include <iterator>

#include "lib/store/job_store.h"
#include "tests/store/postgres/fault_world.h"

namespace parkd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr milliseconds kTtl(2000);
constexpr milliseconds kLongTtl(30'000);  // a busy machine shall not be taken for a lost heartbeat

void kill_a_daemon(FaultWorld& world) {
  Child& daemon = world.some_daemon();
  daemon.kill();
  daemon.start();
}

void stop_a_daemon_for_longer_than_its_ttl(FaultWorld& world) {
  Child& daemon = world.some_daemon();
  daemon.signal(SIGSTOP);
  world.run_for(kTtl + milliseconds(600));
  daemon.signal(SIGCONT);
}

void kill_a_submitter(FaultWorld& world) {
  world.replace_a_submitter();
}

// Sessions of the whole database but ours whose application_name is (not) like this.
void terminate(FaultWorld& world, const std::string& which, const std::string& limit) {
  try {
    world.database().run(
        "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity WHERE datname = "
        "current_database() AND pid <> pg_backend_pid() AND application_name " +
        which + " ORDER BY random() LIMIT " + limit + ") x");
  } catch (const pqxx::failure&) {  // ours was among those that a crash before this one ended
  }
}

void terminate_some_daemon_sessions(FaultWorld& world) {
  terminate(world, "LIKE 'parkd-%'", "5");
}
void terminate_every_session(FaultWorld& world) {
  terminate(world, "IS NOT NULL", "ALL");
}
void terminate_submitters(FaultWorld& world) {
  terminate(world, "NOT LIKE 'parkd-%'", "ALL");
}

void crash_the_server(FaultWorld&) {
  server_control("restart -m immediate");
}

void set_for_all(FaultWorld& world, const std::string& setting, milliseconds time) {
  world.database().run("SET default_transaction_read_only = off");
  world.database().run("ALTER SYSTEM SET " + setting);
  world.database().run("SELECT pg_reload_conf()");
  world.run_for(time);
  world.database().run("ALTER SYSTEM RESET ALL");
  world.database().run("SELECT pg_reload_conf()");
}

void make_it_read_only_for_a_moment(FaultWorld& world) {
  set_for_all(world, "default_transaction_read_only = on", milliseconds(700));
}
void make_it_read_only_for_longer_than_the_ttl(FaultWorld& world) {
  set_for_all(world, "default_transaction_read_only = on", kTtl + milliseconds(600));
}

void drop_notifications(FaultWorld& world) {
  // Sent by nobody, and what listened listens no more until it has connected again.
  world.database().run("UPDATE parkd.settings SET notify_work = false");
  terminate(world, "= 'parkd-beat'", "ALL");
  world.run_for(milliseconds(800));
  world.database().run("UPDATE parkd.settings SET notify_work = true");
}

void jump_the_clocks(FaultWorld& world) {
  for (const auto& daemon : world.daemons()) {
    daemon->signal(world.random()() % 2 == 0 ? SIGUSR1 : SIGUSR2);
  }
  for (const auto& submitter : world.submitters()) {
    submitter->signal(world.random()() % 2 == 0 ? SIGUSR1 : SIGUSR2);
  }
}

// A submitter that went away in the middle: it cancels a running job, adds to the batch, uses a
// key.
void idle_in_a_transaction(FaultWorld& world) {
  const auto session = world.database().connect();
  pqxx::work idle(*session);
  idle.exec("SELECT parkd.cancel(max(id)) FROM parkd.jobs WHERE state = 'claimed'");
  idle.exec(
      "INSERT INTO parkd.jobs (model, body, custom_id, mailbox_key, batch_id, idempotency_key) "
      "SELECT 'm', '{}', 'idle', 'box', max(id), 'idle' FROM parkd.batches");
  EXPECT_TRUE(world.progress(30, seconds(20))) << "everybody waits for it";
}

void pin_xmin(FaultWorld& world) {
  const auto session = world.database().connect();
  pqxx::work snapshot(*session);
  snapshot.exec("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ");
  snapshot.exec("SELECT count(*) FROM parkd.jobs");
  world.run_for(milliseconds(2000));
}

// --- what one fault has to say beyond the checks that hold for all

void the_stopped_daemon_knew(FaultWorld& world) {
  EXPECT_GT(world.reported("ownership_lost"), 0) << "stopped for longer than its ttl";
}

// A daemon that never lost its heartbeat is registered once.
void nobody_lost_its_registration(FaultWorld& world) {
  EXPECT_EQ(world.reported("ownership_lost"), 0);
  EXPECT_EQ(world.database().number("SELECT count(*) FROM parkd.daemons WHERE lost_at IS NOT NULL "
                                    "AND host = 'fault-daemon'"),
            0);
}

void the_epoch_rose(FaultWorld& world) {
  EXPECT_GT(world.database().number("SELECT epoch FROM parkd.fence"), 1);
}

void everything_happened(FaultWorld& world) {
  world.expect_users_did_everything();
}

void nothing_more(FaultWorld&) {}

enum class Load { submits, everything };

struct Fault {
  const char* name;
  void (*inject)(FaultWorld&);
  int rounds;
  int pause_ms_max;  // between rounds, by chance
  void (*expect)(FaultWorld&);
  milliseconds ttl = kTtl;
  Load load = Load::submits;
};

constexpr Fault kFaults[] = {
    {"SIGKILL_of_a_daemon", kill_a_daemon, 12, 300, nothing_more},
    {"SIGSTOP_longer_than_the_ttl", stop_a_daemon_for_longer_than_its_ttl, 2, 200,
     the_stopped_daemon_knew},
    {"SIGKILL_of_a_submitter", kill_a_submitter, 12, 200, nothing_more},
    {"daemon_sessions_terminated", terminate_some_daemon_sessions, 30, 100, nothing_more},
    {"all_sessions_terminated", terminate_every_session, 15, 200, nothing_more},
    {"submitters_sessions_terminated", terminate_submitters, 20, 150, nothing_more},
    {"immediate_restart_of_the_server", crash_the_server, 3, 1500, the_epoch_rose},
    {"read_only_for_a_moment", make_it_read_only_for_a_moment, 3, 300, nothing_more},
    {"read_only_longer_than_the_ttl", make_it_read_only_for_longer_than_the_ttl, 1, 300,
     nothing_more},
    {"submitter_idle_in_a_transaction", idle_in_a_transaction, 2, 300, nothing_more},
    {"xmin_pinned", pin_xmin, 1, 300, nothing_more},
    {"notifications_lost", drop_notifications, 3, 300, nobody_lost_its_registration, kLongTtl},
    {"clocks_jump", jump_the_clocks, 10, 300, nobody_lost_its_registration, kLongTtl},
    {"everything_and_SIGKILL_of_a_daemon", kill_a_daemon, 12, 400, everything_happened, kTtl,
     Load::everything},
    {"everything_and_SIGKILL_of_a_submitter", kill_a_submitter, 12, 300, everything_happened, kTtl,
     Load::everything},
    {"everything_and_all_sessions_terminated", terminate_every_session, 15, 300,
     everything_happened, kTtl, Load::everything},
    {"everything_and_immediate_restart", crash_the_server, 3, 1500, everything_happened, kTtl,
     Load::everything},
};

class PostgresFaults : public testing::Test {
 protected:
  // The settings of one test do not reach the next.
  void TearDown() override {
    database_.run("SET default_transaction_read_only = off");
    database_.run("ALTER SYSTEM RESET ALL");
    database_.run("SELECT pg_reload_conf()");
  }
  TestDatabase database_;
};

class PostgresFault : public PostgresFaults, public testing::WithParamInterface<Fault> {};

TEST_P(PostgresFault, loses_nothing_and_doubles_nothing) {
  const Fault& fault = GetParam();
  FaultWorld::Options options;
  options.daemon_ttl = fault.ttl;
  if (fault.load == Load::everything) options.with_users();
  FaultWorld world(database_, options);
  SCOPED_TRACE("seed " + std::to_string(world.seed()));
  ASSERT_TRUE(world.progress(50)) << "no load";
  const int rounds = fault_rounds(fault.rounds);
  for (int round = 0; round < rounds; ++round) {
    fault.inject(world);
    world.run_for(milliseconds(world.random()() % static_cast<unsigned>(fault.pause_ms_max)));
    if (round % 10 == 9) world.check();
  }
  EXPECT_TRUE(world.progress(50)) << "work does not go on";
  fault.expect(world);
  world.check();
  world.report(fault.name, rounds, world.settle());
}

INSTANTIATE_TEST_SUITE_P(Each, PostgresFault, testing::ValuesIn(kFaults),
                         [](const auto& fault) { return std::string(fault.param.name); });

TEST_F(PostgresFaults, of_any_kind_at_any_time) {
  FaultWorld world(database_, {});
  SCOPED_TRACE("seed " + std::to_string(world.seed()));
  const int rounds = fault_rounds(12);
  for (int round = 0; round < rounds; ++round) {
    const Fault& fault = kFaults[world.random()() % std::size(kFaults)];
    try {
      fault.inject(world);
    } catch (const pqxx::failure&) {  // two faults met: our own session was one of the victims
      database_.run("SELECT 1");
    }
    world.run_for(milliseconds(world.random()() % 200));
  }
  world.report("of_any_kind", rounds, world.settle());
}

TEST_F(PostgresFaults, a_server_that_acknowledges_before_it_syncs_is_refused) {
  database_.run("ALTER DATABASE " + database_.name() + " SET synchronous_commit = off");
  const auto opened = open_postgres_store(quiet_options(database_.dsn()), {});
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.status().code(), StatusCode::conflict);
  EXPECT_NE(opened.status().message().find("synchronous_commit is off"), std::string::npos)
      << opened.status().to_string();
}

}  // namespace
}  // namespace parkd
