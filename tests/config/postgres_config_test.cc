// queue.backend postgres: its keys, what contradicts, and that no password is taken or shown.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "lib/config/dsn_text.h"
#include "tests/config/parse.h"

namespace parkd {
namespace {

using std::chrono::milliseconds;

constexpr const char* kUrl = "postgresql://parkd@db1:5433/parkd?sslmode=verify-full";

std::string queue_at(const std::string& url) {
  return with_lot("queue: {backend: postgres, postgres_url: '" + url + "'}");
}
std::string with_postgres(const std::string& keys) {
  return queue_at(kUrl) + "daemon:\n  postgres: {" + keys + "}\n";
}

TEST(ConfigPostgres, one_url_serves_queue_and_mailbox) {
  const Config c = parsed(queue_at(kUrl));
  EXPECT_EQ(c.queue.backend, StoreBackend::postgres);
  EXPECT_EQ(c.mailbox.backend, StoreBackend::postgres) << "follows the queue";
  EXPECT_TRUE(c.queue.persistence);
  EXPECT_EQ(c.queue.postgres_url, kUrl);
  EXPECT_EQ(c.mailbox.postgres_url, kUrl);
  EXPECT_EQ(c.queue.rocksdb_dir, "");
  EXPECT_EQ(c.mailbox.retention, std::chrono::seconds(604800)) << "durable: 7 days";
  EXPECT_EQ(c.limits.max_queue_depth, std::nullopt) << "durable: no limit";
  EXPECT_TRUE(c.uses_postgres());
  EXPECT_TRUE(parsed(print_config(c)) == c);

  const Config other =
      parsed(with_lot("{queue: {backend: postgres}, mailbox: {backend: postgres, postgres_url: "
                      "'service=parkd'}}"));
  EXPECT_EQ(other.queue.postgres_url, "service=parkd") << "the mailbox's serves both";
}

TEST(ConfigPostgres, an_embedded_queue_may_have_its_mailbox_in_postgresql) {
  const Config c = parsed(with_lot(
      "{queue: {backend: rocksdb}, mailbox: {backend: postgres, postgres_url: 'dbname=x'}}"));
  EXPECT_EQ(c.queue.backend, StoreBackend::rocksdb);
  EXPECT_NE(c.queue.rocksdb_dir, "");
  EXPECT_EQ(c.queue.postgres_url, "");
  EXPECT_EQ(c.mailbox.backend, StoreBackend::postgres);
  EXPECT_EQ(c.mailbox.postgres_url, "dbname=x");
  EXPECT_TRUE(parsed(print_config(c)) == c);
  EXPECT_NE(error_of(with_lot("{queue: {backend: rocksdb}, mailbox: {backend: postgres}}"))
                .find("key 'parking_lot.mailbox.backend': postgres needs postgres_url"),
            std::string::npos);
}

TEST(ConfigPostgres, the_urls_variables_come_from_the_environment) {
  EXPECT_EQ(parsed(queue_at("host=db${TAIL} dbname=parkd")).queue.postgres_url,
            "host=db-tail dbname=parkd");
  const Config escaped = parsed(queue_at("host=db1 user=a$${b}"));
  EXPECT_EQ(escaped.queue.postgres_url, "host=db1 user=a${b}");
  EXPECT_TRUE(parsed(print_config(escaped)) == escaped);
}

TEST(ConfigPostgres, every_key_is_honoured_and_printed) {
  const Config c = parsed(
      with_postgres("listen_dsn: 'host=db1 dbname=parkd', transaction_pooling: true, listen: "
                    "false, poll_ms: 150, "
                    "beat_ms: 200, ttl_ms: 1000, verb_limit_ms: 300, statement_limit_ms: 2000"));
  const PostgresConfig& p = c.daemon.postgres;
  EXPECT_EQ(p.listen_dsn, "host=db1 dbname=parkd");
  EXPECT_TRUE(p.transaction_pooling);
  EXPECT_FALSE(p.listen);
  EXPECT_EQ(p.poll, milliseconds(150));
  EXPECT_EQ(p.beat, milliseconds(200));
  EXPECT_EQ(p.ttl, milliseconds(1000));
  EXPECT_EQ(p.verb_limit, milliseconds(300));
  EXPECT_EQ(p.statement_limit, milliseconds(2000));
  EXPECT_TRUE(parsed(print_config(c)) == c);
}

TEST(ConfigPostgres, numbers_have_their_ranges) {
  struct Range {
    std::string key, below, lowest, highest, above, range;
    std::string beside;
  };
  for (const Range& r : std::vector<Range>{
           {"poll_ms", "99", "100", "10000", "10001", "100 .. 10000", ""},
           {"beat_ms", "99", "100", "60000", "60001", "100 .. 60000", ", ttl_ms: 600000"},
           {"ttl_ms", "999", "1000", "600000", "600001", "1000 .. 600000", ", beat_ms: 100"},
           {"verb_limit_ms", "99", "100", "60000", "60001", "100 .. 60000", ""},
           {"statement_limit_ms", "999", "1000", "600000", "600001", "1000 .. 600000", ""}}) {
    for (const std::string& good : {r.lowest, r.highest}) {
      EXPECT_EQ(error_of(with_postgres(r.key + ": " + good + r.beside)), "") << r.key;
    }
    for (const std::string& bad : {r.below, r.above}) {
      const std::string message = error_of(with_postgres(r.key + ": " + bad + r.beside));
      EXPECT_NE(message.find("key 'daemon.postgres." + r.key + "': value " + bad +
                             " is out of range (" + r.range + ")"),
                std::string::npos)
          << message;
    }
  }
}

TEST(ConfigPostgres, a_ttl_of_less_than_three_heartbeats_is_refused) {
  EXPECT_EQ(
      error_of(with_postgres("beat_ms: 500, ttl_ms: 1499")),
      "t.yaml:5:36: key 'daemon.postgres.ttl_ms': ttl_ms, 1499, must be at least 3 * beat_ms, "
      "which is 1500");
  EXPECT_EQ(error_of(with_postgres("beat_ms: 500, ttl_ms: 1500")), "");
  EXPECT_NE(error_of(with_postgres("beat_ms: 10001")).find("key 'daemon.postgres.beat_ms': ttl_ms"),
            std::string::npos)
      << "the default ttl is 30000";
}

TEST(ConfigPostgres, listening_through_a_transaction_pooler_is_refused) {
  const std::string message = error_of(with_postgres("transaction_pooling: true"));
  EXPECT_NE(message.find("set listen_dsn straight to the server, or listen: false"),
            std::string::npos)
      << message;
}

TEST(ConfigPostgres, contradictions_are_refused_with_a_reason) {
  const auto expect = [](const std::string& text, const std::string& why) {
    const std::string message = error_of(text);
    EXPECT_NE(message.find(why), std::string::npos) << text << message;
  };
  expect(with_lot("queue: {backend: postgres}"),
         "t.yaml:3:20: key 'parking_lot.queue.backend': postgres needs postgres_url beside it");
  expect(with_lot("queue: {backend: postgres, postgres_url: null}"), "postgres needs postgres_url");
  expect(with_lot("queue: {backend: postgres, persistence: false, postgres_url: 'dbname=x'}"),
         "keeps jobs in the database");
  expect(with_lot("queue: {backend: postgres, rocksdb_dir: /q, postgres_url: 'dbname=x'}"),
         "value \"/q\" has no use with the postgres back end");
  expect(with_lot("queue: {backend: rocksdb, postgres_url: 'dbname=x'}"),
         "key 'parking_lot.queue.postgres_url': has no use with the rocksdb back end");
  expect(with_lot("{queue: {backend: memory}, mailbox: {postgres_url: 'dbname=x'}}"),
         "key 'parking_lot.mailbox.postgres_url': has no use with the memory back end");
  expect(with_lot("{queue: {backend: postgres, postgres_url: 'dbname=x'}, mailbox: {backend: "
                  "memory}}"),
         "does not go with queue back end postgres");
  expect(with_lot("{queue: {backend: postgres, postgres_url: 'dbname=x'}, mailbox: {postgres_url: "
                  "'dbname=y'}}"),
         "one transaction in one database");
  expect("models: [{name: m, hf_id: x/m, parking_lot: {queue: {postgres_url: 'dbname=x'}}}]\n",
         "is set for one model");
}

TEST(ConfigPostgres, a_password_is_refused_by_line_and_never_shown) {
  for (const std::string& dsn : std::vector<std::string>{
           "postgresql://parkd:hunter2@db1/parkd", "postgres://parkd:hunter2@/parkd",
           "postgresql://db1/parkd?user=parkd&password=hunter2",
           "postgresql://db1/parkd?%70assword=hunter2", "postgresql://a:hunter2/x@db1/parkd",
           "host=db1 password=hunter2", "host=db1 password = 'hunter2'", "password=hunter2",
           "host=db1 sslpassword=hunter2", "user='a\\'b' password='hunter2'",
           // Neither keywords nor URI, but it may be half of one: it is not shown either.
           "hunter2", "host=db1 hunter2", "host=db1 password='hunter2"}) {
    std::string quoted = dsn;  // for a single-quoted YAML scalar
    for (size_t i = 0; (i = quoted.find('\'', i)) != std::string::npos; i += 2) {
      quoted.insert(i, "'");
    }
    for (const std::string& text :
         {queue_at(quoted), with_postgres("listen_dsn: '" + quoted + "'"),
          with_lot("queue: {backend: rocksdb, postgres_url: '" + quoted + "'}")}) {
      const std::string message = error_of(text);
      EXPECT_EQ(message.find("hunter2"), std::string::npos) << message;
      EXPECT_EQ(message.substr(0, 7), "t.yaml:") << text << message;
    }
  }
  EXPECT_EQ(error_of(queue_at("postgresql://parkd:hunter2@db1/parkd")),
            "t.yaml:3:44: key 'parking_lot.queue.postgres_url': holds a password, which does not "
            "belong into a configuration: leave it out and give it by the systemd credential "
            "postgres_password (LoadCredential=), PGPASSFILE, PGPASSWORD, or a service file");
  EXPECT_EQ(error_of(queue_at("host=db1 user=${NO_SUCH}")),
            "t.yaml:3:44: key 'parking_lot.queue.postgres_url': names the environment variable "
            "NO_SUCH, which is not set");
  EXPECT_NE(error_of(queue_at("host=db1 password=${ROOT}")).find("holds a password"),
            std::string::npos)
      << "the variable would put it there";
}

TEST(ConfigPostgres, connection_strings_without_a_password_pass) {
  for (const char* dsn :
       {"postgresql://db1/parkd", "postgresql:///parkd?host=/run/postgresql", "postgresql://",
        "postgresql://parkd@db1:5432,db2:5433/parkd?target_session_attrs=read-write",
        "postgresql://parkd@[::1]:5432/x", "dbname=parkd", "host=/run/postgresql user = 'a b'",
        "service=parkd", "host=db1 passfile=/etc/parkd/pgpass", "dbname='it\\'s password=x'",
        "host=db1 password=", "host = db1 user =a"}) {
    EXPECT_EQ(dsn_refusal(dsn), "") << dsn;
  }
}

TEST(ConfigPostgres, keys_of_an_unused_database_are_mentioned) {
  const Config c = parsed(with_daemon("postgres: {poll_ms: 500}"));
  bool said = false;
  for (const std::string& note : config_notes(c)) {
    said = said || note.find("daemon.postgres is set") != std::string::npos;
  }
  EXPECT_TRUE(said);
}

}  // namespace
}  // namespace parkd
