// The database becomes another one: a standby is promoted under load after kill -9 of the primary,
// a backup is restored. What was acknowledged is there; who holds a lease of the old one can end
// nothing on the new one.
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>

#include "tests/store/postgres/fault_cluster.h"
#include "tests/store/postgres/fault_world.h"
#include "tests/store/postgres/store_rig.h"

namespace parkd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Claims made by plain SQL: a daemon that has no idea what happens to the database.
class Zombie {
 public:
  Zombie(TestDatabase& database, const std::string& model, int n) {
    daemon_ = database.value(
        "SELECT daemon_id FROM parkd.register_v1('zombie', 1, '0', interval '1 hour')");
    // One call a lease: they are claimed in this order.
    for (int i = 0; i < n; ++i) {
      const std::string claim =
          "SELECT id || ' ' || run_lease FROM parkd.claim_v1(" + daemon_ + ", '" + model + "', 1)";
      const std::string both = database.value(claim);
      ids_ += (i == 0 ? "" : ",") + both.substr(0, both.find(' '));
      leases_ += (i == 0 ? "" : ",") + both.substr(both.find(' ') + 1);
    }
    // Claims are not synced, a registration is: with it they are on the disk and on the standby.
    database.run("SELECT parkd.register_v1('sync', 1, '0', interval '1 hour')");
    n_ = n;
  }

  // The answers of finish_v1 in words of FinishAnswer's numbers, each once.
  std::string finish(TestDatabase& database) const {
    const std::string n = std::to_string(n_);
    const auto all = [&n](const std::string& value) {
      return "array_fill(" + value + ", ARRAY[" + n + "])";
    };
    return database.value(
        "SELECT string_agg(DISTINCT answer::text, ',') FROM parkd.finish_v1(ARRAY[" + ids_ +
        "]::bigint[], ARRAY[" + leases_ + "]::bigint[], " + all("'completed'::text") + ", " +
        all("''::text") + ", " + all("''::text") + ", " + all("''::text") + ", " + all("200") +
        ", " + all("'{}'::text") + ", " + all("1") + ", " + all("1") + ", " + all("1::bigint") +
        ", " + all("1::bigint") + ", " + all("1::bigint") + ")");
  }

 private:
  std::string daemon_;
  std::string ids_;
  std::string leases_;
  int n_ = 0;
};

constexpr const char* kLeaseLost = "2";

class PostgresStandby : public testing::Test {
 protected:
  void submit(const std::string& model, int n) {
    database_.run("SELECT parkd.register_model_v1('" + model + "', '', 8192)");
    database_.run("INSERT INTO parkd.jobs (model, body, custom_id) SELECT '" + model +
                  "', '{}', 'other-' || i FROM generate_series(1, " + std::to_string(n) + ") i");
  }
  int64_t epoch() { return database_.number("SELECT epoch FROM parkd.fence"); }
  // The original again, for the next test; it waits for no standby any more.
  void TearDown() override {
    use_server(first_host_);
    try {
      server_control("stop -m immediate");
    } catch (const std::exception&) {  // it was not running
    }
    server_control("start -o '-c synchronous_standby_names='");
    ASSERT_TRUE(eventually(seconds(30), [&] {
      database_.run("ALTER SYSTEM RESET ALL");
      return true;
    }));
  }

  const std::string first_host_ = std::getenv("PGHOST");
  TestDatabase database_;
};

TEST_F(PostgresStandby, a_promoted_one_has_all_that_was_acknowledged_and_no_zombie) {
  // Daemons and submitters find the server that can be written to, whichever that is.
  Cluster standby("standby", Cluster::Kind::standby);
  standby.start();
  database_.run("ALTER SYSTEM SET synchronous_standby_names = 'standby'");
  database_.run("SELECT pg_reload_conf()");
  ASSERT_TRUE(eventually(seconds(30), [&] {
    return database_.value("SELECT sync_state FROM pg_stat_replication") == "sync";
  }));
  {
    pqxx::connection reader("host=" + standby.host() + " " + database_.dsn());
    EXPECT_NE(refusal(reader, "SELECT * FROM parkd.fetch('box')").find("a standby does not see"),
              std::string::npos)
        << "a cursor on a standby may pass a result that is still being stored";
    const StoreRig daemon(quiet_options("host=" + standby.host() + " " + database_.dsn()));
    const std::string why = daemon.driver->stats()->health_error;
    EXPECT_NE(why.find("takes no writes (database " + database_.name() + " on " + standby.host()),
              std::string::npos)
        << why;
    EXPECT_NE(why.find("it is a standby; name the primary"), std::string::npos) << why;
  }
  FaultWorld::Options options;
  options.daemon_dsn = options.submit_dsn =
      "host=" + first_host_ + "," + standby.host() +
      " target_session_attrs=read-write dbname=" + database_.name();
  FaultWorld world(database_, options);
  SCOPED_TRACE("seed " + std::to_string(world.seed()));
  ASSERT_TRUE(world.progress(200)) << "no load";
  const int64_t epoch_before = epoch();
  // A model that no daemon of the world claims.
  submit("held", 4);
  Zombie zombie(database_, "held", 4);

  Child& sleeper = world.some_daemon();  // with claims of its own, most likely
  sleeper.signal(SIGSTOP);
  kill_server(std::getenv("PG_SANDBOX_DATA"));
  world.run_for(milliseconds(world.random()() % 500));
  standby.promote();
  use_server(standby.host());

  ASSERT_TRUE(eventually(seconds(30), [&] { return zombie.finish(database_) == kLeaseLost; }))
      << "a lease of the old timeline ended a job on the new one";
  sleeper.signal(SIGCONT);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.mailbox WHERE model = 'held'"), 0);
  EXPECT_TRUE(world.progress(200)) << "work does not go on";
  EXPECT_GT(epoch(), epoch_before);
  EXPECT_EQ(database_.number("SELECT count(*) FROM parkd.jobs WHERE model = 'held' AND state = "
                             "'claimed' AND run_lease >> 32 <= " +
                             std::to_string(epoch_before)),
            0)
      << "what it held is anybody's";
  database_.run("DELETE FROM parkd.jobs WHERE model = 'held'");
  world.check();
  world.report("standby promoted after kill -9", 1, world.settle());
}

// What both ways of restoring have in common. The original goes on after the backup, crashes, and
// gives out leases of a raised epoch: those must mean nothing to the restored one either.
void restored(TestDatabase& database, Cluster::Kind kind, const std::string& name) {
  Zombie early(database, "m", 4);
  Cluster backup(name, kind);
  server_control("restart -m immediate");
  std::unique_ptr<Zombie> late;
  ASSERT_TRUE(eventually(seconds(30), [&] {
    late = std::make_unique<Zombie>(database, "m", 4);
    return true;
  }));
  const int64_t epoch_of_the_original = database.number("SELECT epoch FROM parkd.fence");
  server_control("stop -m immediate");
  backup.start();
  use_server(backup.host());
  ASSERT_TRUE(
      eventually(seconds(30), [&] { return database.value("SELECT pg_is_in_recovery()") == "f"; }));
  if (kind == Cluster::Kind::recovered) {
    EXPECT_EQ(early.finish(database), kLeaseLost) << "a lease from before the backup";
  }
  // Somebody else claims everything that can be claimed, and works on it.
  Zombie present(database, "m", 16);
  EXPECT_NE(database.number("SELECT epoch FROM parkd.fence"), epoch_of_the_original);
  EXPECT_EQ(late->finish(database), kLeaseLost)
      << "a lease that the original gave out after the backup";
  EXPECT_EQ(database.number("SELECT count(*) FROM parkd.mailbox"), 0);
  EXPECT_EQ(present.finish(database), "0");
  EXPECT_EQ(database.number("SELECT count(*) FROM parkd.mailbox"), 16);
}

TEST_F(PostgresStandby, a_backup_recovered_on_a_new_timeline_knows_no_lease_of_the_original) {
  submit("m", 20);
  restored(database_, Cluster::Kind::recovered, "recovered");
}

TEST_F(PostgresStandby, a_copy_on_the_same_timeline_knows_no_later_lease_of_the_original) {
  submit("m", 20);
  restored(database_, Cluster::Kind::plain_copy, "copied");
}

}  // namespace
}  // namespace parkd
