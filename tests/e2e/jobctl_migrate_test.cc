// jobctl migrate against a real server: what it says and what it exits with.
#include <gtest/gtest.h>

#include "lib/store/postgres/migrator.h"
#include "tests/e2e/child_process.h"
#include "tests/store/postgres/test_database.h"

namespace parkd::testing {
namespace {

class JobctlMigrate : public ::testing::Test {
 protected:
  JobctlResult migrate(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {"--dsn", database_.dsn(), "migrate"});
    return run_jobctl(arguments);
  }
  static bool has(const std::string& text, const std::string& part) {
    return text.find(part) != text.npos;
  }

  const std::string newest_ = std::to_string(embedded_migrations().size());
  TestDatabase database_{TestDatabase::Schema::none};
};

TEST_F(JobctlMigrate, up_status_check_and_down_are_a_round_trip) {
  EXPECT_TRUE(has(migrate({"status"}).out, "pending"));
  const JobctlResult missing = migrate({"check"});
  EXPECT_EQ(missing.exit_code, 4);
  EXPECT_TRUE(has(missing.err, "jobctl migrate up")) << missing.err;
  EXPECT_TRUE(has(missing.err, "database " + database_.name())) << missing.err;

  EXPECT_EQ(migrate({"up", "--to", "2"}).out, "the parkd schema is at version 2\n");
  EXPECT_EQ(migrate({"check"}).exit_code, 4) << "version 2 is an older schema";
  const JobctlResult up = migrate({"up"});
  EXPECT_EQ(up.exit_code, 0) << up.err;
  EXPECT_EQ(up.out, "the parkd schema is at version " + newest_ + "\n");
  EXPECT_EQ(migrate({"check"}).exit_code, 0);
  EXPECT_FALSE(has(migrate({"status"}).out, "pending"));

  const JobctlResult asked = migrate({"down", "--to", "2"});
  EXPECT_EQ(asked.exit_code, 2);
  EXPECT_TRUE(has(asked.err, "--yes")) << asked.err;
  EXPECT_EQ(migrate({"check"}).exit_code, 0) << "nothing was undone";
  EXPECT_EQ(migrate({"down", "--yes"}).exit_code, 2) << "down wants --to";
  EXPECT_EQ(migrate({"down", "--to", "2", "--yes"}).out, "the parkd schema is at version 2\n");
  EXPECT_EQ(migrate({"down", "--to", "0", "--yes"}).out, "the parkd schema is at version 0\n");
  EXPECT_EQ(migrate({"up"}).exit_code, 0);
}

TEST_F(JobctlMigrate, down_with_jobs_there_changes_nothing) {
  ASSERT_EQ(migrate({"up"}).exit_code, 0);
  database_.run("SELECT parkd.register_model_v1('m', '', 8192)");
  database_.run("INSERT INTO parkd.jobs (model, body) VALUES ('m', '{}')");
  const JobctlResult refused = migrate({"down", "--to", "0", "--yes"});
  EXPECT_EQ(refused.exit_code, 4);
  EXPECT_TRUE(has(refused.err, "nothing was undone")) << refused.err;
  EXPECT_EQ(migrate({"check"}).exit_code, 0) << "all versions are still there";
}

TEST_F(JobctlMigrate, a_changed_and_an_unknown_version_are_told_apart) {
  ASSERT_EQ(migrate({"up"}).exit_code, 0);
  database_.run("UPDATE parkd.schema_version SET checksum = 'x' WHERE version = 1");
  EXPECT_TRUE(has(migrate({"status"}).out, "changed"));
  EXPECT_EQ(migrate({"check"}).exit_code, 4);
  database_.run(
      "INSERT INTO parkd.schema_version (version, name, checksum, needs) VALUES (999, 'later', "
      "'y', 999)");
  EXPECT_TRUE(has(migrate({"status"}).out, "unknown"));
}

TEST_F(JobctlMigrate, the_printed_sql_makes_the_same_schema) {
  const JobctlResult sql = run_jobctl({"migrate", "sql"});
  ASSERT_EQ(sql.exit_code, 0);
  database_.run(sql.out);
  EXPECT_EQ(migrate({"check"}).exit_code, 0);
}

TEST_F(JobctlMigrate, errors_name_host_and_database_and_never_the_password) {
  const JobctlResult nobody =
      run_jobctl({"migrate", "check"}, "", {"PARKD_DSN=postgresql://u:geheim@127.0.0.1:1/orders"});
  EXPECT_EQ(nobody.exit_code, 3);
  EXPECT_TRUE(has(nobody.err, "database orders on 127.0.0.1:1 as u")) << nobody.err;
  EXPECT_FALSE(has(nobody.err, "geheim")) << nobody.err;
  const JobctlResult unreadable =
      run_jobctl({"migrate", "check"}, "", {"PARKD_DSN=host=h password=very geheim"});
  EXPECT_EQ(unreadable.exit_code, 2);
  EXPECT_FALSE(has(unreadable.err, "geheim")) << unreadable.err;
  const JobctlResult shown = run_jobctl({"--dsn", "host=h password=geheim", "migrate", "check"});
  EXPECT_EQ(shown.exit_code, 2);
  EXPECT_TRUE(has(shown.err, "PGPASSFILE")) << shown.err;
  EXPECT_FALSE(has(shown.err, "geheim")) << shown.err;
}

}  // namespace
}  // namespace parkd::testing
