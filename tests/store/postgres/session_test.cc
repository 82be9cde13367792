// What administrators do to sessions, and what is said of one that is lost.
#include "tests/store/postgres/store_rig.h"

namespace parkd {
namespace {

using std::chrono::milliseconds;

class Sessions : public PostgresStoreTest {
 protected:
  PostgresOptions impatient() {
    PostgresOptions options = quiet_options(database_.dsn());
    options.verb_limit = milliseconds(300);
    options.beat = milliseconds(50);
    return options;
  }
  static bool has(const std::string& text, const std::string& part) {
    return text.find(part) != text.npos;
  }
};

// A session keeps what the database's or the login's settings were when it began.
TEST_F(Sessions, begun_while_the_database_was_read_only_do_not_stay_so) {
  const std::string database = "ALTER DATABASE " + database_.name();
  const std::pair<std::string, std::string> settings[] = {
      {database, database + " RESET default_transaction_read_only ends that"},
      {"ALTER ROLE postgres IN DATABASE " + database_.name(),
       "login postgres was set read-only in database " + database_.name()},
      {"ALTER ROLE postgres", "login postgres was set read-only; ALTER ROLE postgres RESET"},
  };
  for (const auto& [alter, words] : settings) {
    SCOPED_TRACE(alter);
    database_.run(alter + " SET default_transaction_read_only = on");
    StoreRig daemon(impatient());
    EXPECT_TRUE(eventually([&] { return has(daemon.driver->stats()->health_error, words); }))
        << daemon.driver->stats()->health_error;
    const auto refused = daemon.driver->submit({spec()});
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.status().code(), StatusCode::unavailable);
    for (const std::string& part : {std::string("PostgreSQL takes no writes"), database_.name(),
                                    words, std::string("tried for 0.3 s")}) {
      EXPECT_TRUE(has(refused.status().message(), part)) << refused.status().message();
    }
    EXPECT_FALSE(has(refused.status().message(), "standby")) << refused.status().message();
    database_.run(alter + " RESET default_transaction_read_only");
    EXPECT_TRUE(eventually([&] { return daemon.driver->submit({spec()}).ok(); }));
    EXPECT_TRUE(eventually([&] { return daemon.driver->stats()->healthy; }));
  }
}

// Nothing is asked of a session for as long as there is nothing to do.
TEST_F(Sessions, are_not_cut_by_an_administrators_timeouts) {
  for (const char* setting :
       {"idle_session_timeout = '100ms'", "idle_in_transaction_session_timeout = '100ms'",
        "statement_timeout = '1ms'", "lock_timeout = '1ms'",
        "default_transaction_isolation = 'serializable'"}) {
    database_.run("ALTER DATABASE " + database_.name() + " SET " + setting);
  }
  StoreRig daemon(quiet_options(database_.dsn()));
  ASSERT_TRUE(daemon.driver->submit({spec()}).ok());
  EXPECT_EQ(daemon.driver->claim("m", 1)->size(), 1u);
  ASSERT_TRUE(daemon.driver->purge().ok());
  ASSERT_TRUE(daemon.driver->fetch({"default", "box", 0, 10}).ok());
  const int64_t sessions = daemon.driver->stats()->sessions;
  // Another one, which began later and is idle as they are, is cut.
  {
    const auto other =
        std::make_unique<pqxx::connection>(database_.dsn() + " application_name=an_idle_session");
    EXPECT_TRUE(eventually([&] {
      return database_.number(
                 "SELECT count(*) FROM pg_stat_activity WHERE application_name = "
                 "'an_idle_session'") == 0;
    }));
  }
  ASSERT_TRUE(daemon.driver->submit({spec()}).ok());
  EXPECT_EQ(daemon.driver->claim("m", 1)->size(), 1u);
  EXPECT_EQ(daemon.driver->fetch({"default", "box", 0, 10})->messages.size(), 0u);
  EXPECT_TRUE(daemon.driver->purge().ok());
  EXPECT_EQ(daemon.driver->stats()->sessions, sessions);
}

// Which server, what became of the session, for how long it was tried; nothing of libpq's.
TEST_F(Sessions, that_are_lost_are_named_in_our_words) {
  StoreRig daemon(impatient());
  ASSERT_TRUE(daemon.driver->submit({spec()}).ok());
  pqxx::connection elsewhere("dbname=postgres");
  pqxx::nontransaction admin(elsewhere);
  admin.exec("ALTER DATABASE " + database_.name() + " ALLOW_CONNECTIONS false");
  admin.exec("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '" +
             database_.name() + "'");
  const std::string target = "database " + database_.name() + " on " + std::getenv("PGHOST");
  std::string trouble;
  EXPECT_TRUE(eventually([&] {
    trouble = daemon.driver->stats()->health_error;
    return has(trouble, "accept none") && has(trouble, "tried again every second");
  })) << trouble;
  const std::string uncertain = daemon.driver->submit({spec()}).status().message();
  EXPECT_TRUE(has(uncertain, "the connection to PostgreSQL was lost (" + target)) << uncertain;
  EXPECT_TRUE(has(uncertain, "whether it did what it was asked for is not known")) << uncertain;
  const std::string refused = daemon.driver->submit({spec()}).status().message();
  for (const std::string& text : {trouble, refused}) {
    EXPECT_TRUE(has(text, "cannot connect to PostgreSQL (" + target)) << text;
    EXPECT_TRUE(has(text, "set to accept none (ALTER DATABASE ... ALLOW_CONNECTIONS)")) << text;
    EXPECT_FALSE(has(text, "FATAL")) << text;
    EXPECT_FALSE(has(text, "is not currently accepting")) << text;
  }
  EXPECT_TRUE(has(refused, "tried for 0.3 s")) << refused;
  admin.exec("ALTER DATABASE " + database_.name() + " ALLOW_CONNECTIONS true");
  EXPECT_TRUE(eventually([&] { return daemon.driver->submit({spec()}).ok(); }));
}

}  // namespace
}  // namespace parkd
