#include <gtest/gtest.h>

#include <algorithm>
#include <future>

#include "lib/store/postgres/lockdown.h"
#include "lib/store/postgres/migrator.h"
#include "tests/store/postgres/test_database.h"
#include "tests/support/store_driver.h"

namespace parkd {
namespace {

int n_applied(const std::vector<MigrationState>& states) {
  int n = 0;
  for (const MigrationState& state : states) n += state.applied_at.empty() ? 0 : 1;
  return n;
}

// What the schema consists of, to compare two ways to it.
std::string inventory(TestDatabase& database) {
  return database.value(
      "SELECT string_agg(x, E'\n' ORDER BY x) FROM ("
      "SELECT 'table ' || relname || ' ' || relkind::text AS x FROM pg_class WHERE relnamespace = "
      "'parkd'::regnamespace UNION ALL SELECT 'function ' || oid::regprocedure || md5(prosrc) || "
      "coalesce(proacl::text, '') FROM pg_proc WHERE pronamespace = 'parkd'::regnamespace UNION "
      "ALL "
      "SELECT 'trigger ' || tgname FROM pg_trigger WHERE NOT tgisinternal UNION ALL "
      "SELECT 'policy ' || polname || polrelid::regclass FROM pg_policy) i");
}

TEST(Migration, up_down_and_up_again_give_the_same_schema) {
  TestDatabase database(TestDatabase::Schema::none);
  Migrator migrator(database.dsn());
  ASSERT_TRUE(migrator.up(0).ok());
  EXPECT_TRUE(migrator.check().ok());
  const std::string first = inventory(database);
  EXPECT_NE(first.find("claim_v1"), first.npos);
  ASSERT_TRUE(migrator.up(0).ok()) << "nothing is left to do";
  for (int target = static_cast<int>(embedded_migrations().size()) - 1; target >= 0; --target) {
    const Status status = migrator.down(target);
    ASSERT_TRUE(status.ok()) << status.to_string();
    EXPECT_EQ(n_applied(*migrator.status()), target);
  }
  EXPECT_EQ(
      database.number("SELECT count(*) FROM pg_class WHERE relnamespace = 'parkd'::regnamespace "
                      "AND relname NOT LIKE 'schema_version%'"),
      0);
  ASSERT_TRUE(migrator.up(0).ok());
  EXPECT_EQ(inventory(database), first);
}

TEST(Migration, going_down_loses_no_job) {
  TestDatabase database;
  database.run("SELECT parkd.register_model_v1('m', '', 8192)");
  database.run("INSERT INTO parkd.jobs (model, body) VALUES ('m', '{}')");
  Migrator migrator(database.dsn());
  const Status refused = migrator.down(0);
  EXPECT_EQ(refused.code(), StatusCode::conflict);
  EXPECT_EQ(database.number("SELECT count(*) FROM parkd.jobs"), 1);
  ASSERT_TRUE(migrator.up(0).ok());
  EXPECT_EQ(database.number("SELECT count(*) FROM parkd.jobs"), 1);
}

TEST(Migration, a_missing_schema_is_refused_with_what_to_run) {
  TestDatabase database(TestDatabase::Schema::none);
  const Status status = Migrator(database.dsn()).check();
  EXPECT_EQ(status.code(), StatusCode::conflict);
  EXPECT_NE(status.message().find("jobctl migrate up"), std::string::npos);
  const auto store = open_postgres_store(quiet_options(database.dsn()), {});
  EXPECT_EQ(store.status().code(), StatusCode::conflict);
}

TEST(Migration, an_older_schema_is_refused_by_its_number) {
  TestDatabase database;
  const int ours = embedded_migrations().back().version;
  ASSERT_TRUE(Migrator(database.dsn()).down(ours - 1).ok());
  const std::string numbers =
      "is at version " + std::to_string(ours - 1) + ", this parkd needs " + std::to_string(ours);
  const Status status = Migrator(database.dsn()).check();
  EXPECT_EQ(status.code(), StatusCode::conflict);
  EXPECT_NE(status.message().find(numbers), std::string::npos) << status.message();
  const auto store = open_postgres_store(quiet_options(database.dsn()), {});
  EXPECT_EQ(store.status().code(), StatusCode::conflict);
  EXPECT_NE(store.status().message().find(numbers), std::string::npos) << store.status().message();
}

TEST(Migration, a_changed_migration_is_noticed) {
  TestDatabase database;
  database.run("UPDATE parkd.schema_version SET checksum = 'x' WHERE version = 2");
  Migrator migrator(database.dsn());
  EXPECT_EQ(migrator.check().code(), StatusCode::conflict);
  EXPECT_EQ(migrator.up(0).code(), StatusCode::conflict);
  EXPECT_TRUE(migrator.status()->at(1).changed);
}

TEST(Migration, a_daemon_works_beside_a_newer_schema_that_says_it_may) {
  TestDatabase database;
  std::vector<Migration> newer(embedded_migrations().begin(), embedded_migrations().end());
  const int next = newer.back().version + 1;
  const std::string needs = "-- needs: " + std::to_string(next - 1) + "\n";
  const std::string compatible = needs + "ALTER TABLE parkd.jobs ADD COLUMN flavour text;";
  newer.push_back({next, "flavour", compatible, "ALTER TABLE parkd.jobs DROP COLUMN flavour;"});
  ASSERT_TRUE(Migrator(database.dsn(), newer).up(0).ok());
  EXPECT_TRUE(Migrator(database.dsn()).check().ok());
  // Daemons of version N work on the schema of N + 1, one on what the other submitted.
  auto submitting = open_postgres_store(quiet_options(database.dsn()), {});
  auto working = open_postgres_store(quiet_options(database.dsn()), {});
  ASSERT_TRUE(submitting.ok()) << submitting.status().to_string();
  ASSERT_TRUE(working.ok()) << working.status().to_string();
  StoreDriver one(**submitting);
  StoreDriver other(**working);
  JobSpec spec;
  spec.model = "m";
  spec.tenant = "default";
  spec.mailbox_key = "box";
  spec.idempotency_key = "k";
  spec.body = R"({"messages":[]})";
  const auto submitted = one.submit({spec});
  ASSERT_TRUE(submitted.ok()) << submitted.status().to_string();
  const auto jobs = other.claim("m", 1);
  ASSERT_TRUE(jobs.ok()) << jobs.status().to_string();
  ASSERT_EQ(jobs->size(), 1u);
  Ending ending;
  ending.body = "{}";
  const auto ended = other.finish({{jobs->front().id, jobs->front().lease, ending}});
  ASSERT_TRUE(ended.ok()) << ended.status().to_string();
  EXPECT_EQ(ended->front(), FinishAnswer::finished_now);
  EXPECT_EQ(one.fetch({"default", "box", 0, 10})->messages.size(), 1u);
  EXPECT_TRUE(other.submit({spec})->front().existed);

  newer.push_back({next + 1, "rupture", "ALTER TABLE parkd.jobs ADD COLUMN other text;", ""});
  ASSERT_TRUE(Migrator(database.dsn(), newer).up(0).ok());
  const Status refused = Migrator(database.dsn()).check();
  EXPECT_EQ(refused.code(), StatusCode::conflict);
  EXPECT_NE(refused.message().find("upgrade parkd"), std::string::npos);
  const std::string numbers = "is at version " + std::to_string(next + 1) +
                              ", which needs parkd of schema " + std::to_string(next + 1) +
                              "; this one knows " + std::to_string(next - 1);
  EXPECT_NE(refused.message().find(numbers), std::string::npos) << refused.message();
  EXPECT_EQ(open_postgres_store(quiet_options(database.dsn()), {}).status().code(),
            StatusCode::conflict);
}

// A rolling upgrade: daemons of before go on while the new ones keep files.
TEST(Migration, programs_that_know_no_files_work_beside_them) {
  TestDatabase database(TestDatabase::Schema::none);
  const auto with_files = embedded_migrations().first(18);
  ASSERT_EQ(with_files.back().version, 18);
  ASSERT_TRUE(Migrator(database.dsn(), with_files).up(0).ok());
  const auto before = embedded_migrations().first(14);
  ASSERT_EQ(before.back().version, 14);
  const Status status = Migrator(database.dsn(), before).check();
  EXPECT_TRUE(status.ok()) << status.to_string();
}

// They would end jobs for it as invalid.
TEST(Migration, programs_that_know_no_responses_are_refused) {
  TestDatabase database;
  const Status refused = Migrator(database.dsn(), embedded_migrations().first(18)).check();
  EXPECT_EQ(refused.code(), StatusCode::conflict);
  EXPECT_NE(refused.message().find("which needs parkd of schema 19; this one knows 18"),
            std::string::npos)
      << refused.message();
}

TEST(Migration, going_down_loses_no_file) {
  TestDatabase database;
  database.run(
      "INSERT INTO parkd.files (id, tenant, begun_at, seen_at, created_at, expires_at) VALUES "
      "('file-1', 't', now(), now(), now(), now() + interval '1 day')");
  Migrator migrator(database.dsn());
  const Status refused = migrator.down(14);
  EXPECT_EQ(refused.code(), StatusCode::conflict);
  EXPECT_NE(refused.message().find("clients have 1 files"), std::string::npos) << refused.message();
  EXPECT_NE(refused.message().find("DELETE FROM parkd.files"), std::string::npos)
      << refused.message();
  EXPECT_EQ(database.number("SELECT count(*) FROM parkd.files"), 1);
  database.run("DELETE FROM parkd.files");
  EXPECT_TRUE(migrator.down(14).ok());
}

TEST(Migration, two_migrators_at_once_do_it_once) {
  TestDatabase database(TestDatabase::Schema::none);
  std::vector<std::future<Status>> runs;
  for (int i = 0; i < 3; ++i) {
    runs.push_back(std::async(std::launch::async, [&] { return Migrator(database.dsn()).up(0); }));
  }
  for (auto& run : runs) {
    const Status status = run.get();
    EXPECT_TRUE(status.ok()) << status.to_string();
  }
  EXPECT_TRUE(Migrator(database.dsn()).check().ok());
}

TEST(Migration, the_printed_sql_is_what_up_runs) {
  TestDatabase by_up(TestDatabase::Schema::none);
  TestDatabase by_hand(TestDatabase::Schema::none);
  ASSERT_TRUE(Migrator(by_up.dsn()).up(0).ok());
  by_hand.run(Migrator(by_hand.dsn()).sql());
  EXPECT_TRUE(Migrator(by_hand.dsn()).check().ok());
  EXPECT_EQ(inventory(by_hand), inventory(by_up));
}

// Rights outside of parkd's schemas are an administrator's: no migration touches them.
TEST(Lockdown, is_asked_for_and_takes_from_public_what_it_had) {
  TestDatabase database(TestDatabase::Schema::none);
  const std::string rights =
      "SELECT concat_ws(' ', d.datacl, n.nspacl) FROM pg_database d, pg_namespace n WHERE "
      "d.datname = current_database() AND n.nspname = 'public'";
  database.run(
      "DO $$ BEGIN CREATE ROLE stranger LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$");
  const std::string before = database.value(rights);
  EXPECT_EQ(look_at_lockdown(database.dsn()).status().code(), StatusCode::conflict);
  Migrator migrator(database.dsn());
  ASSERT_TRUE(migrator.up(0).ok());
  EXPECT_EQ(database.value(rights), before);
  EXPECT_NE(rights_of_public(database.dsn())->find("connect"), std::string::npos);
  const Lockdown found = look_at_lockdown(database.dsn()).value();
  EXPECT_FALSE(found.is_done);
  EXPECT_EQ(found.statements.size(), 3u);
  EXPECT_EQ(std::count(found.shut_out.begin(), found.shut_out.end(), "stranger"), 1);
  EXPECT_EQ(database.value(rights), before) << "looking changes nothing";
  EXPECT_EQ(lock_down(database.dsn_as("stranger")).code(), StatusCode::denied);
  ASSERT_TRUE(lock_down(database.dsn()).ok());
  EXPECT_EQ(*rights_of_public(database.dsn()), "");
  EXPECT_TRUE(look_at_lockdown(database.dsn())->is_done);
  EXPECT_THROW(database.connect("stranger"), pqxx::broken_connection);
  EXPECT_EQ(database.value("SELECT has_database_privilege('parkd_submitter', current_database(), "
                           "'CONNECT')"),
            "t");
}

}  // namespace
}  // namespace parkd
