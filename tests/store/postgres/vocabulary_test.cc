// What C++ and SQL both have to say: each word, number and path of SQL is the one of lib/job.
#include <gtest/gtest.h>

#include <string>

#include "lib/job/batch.h"
#include "lib/job/job.h"
#include "tests/store/postgres/test_database.h"

namespace parkd {
namespace {

std::string quoted(std::string_view text) {
  return "'" + std::string(text) + "'";
}

// The functions whose text has the word, in order.
std::string functions_with(TestDatabase& database, std::string_view word) {
  return database.value(
      "SELECT coalesce(string_agg(p.proname, ' ' ORDER BY p.proname), '') FROM pg_proc p "
      "WHERE p.pronamespace = 'parkd'::regnamespace AND p.prokind = 'f' "
      "AND pg_get_functiondef(p.oid) LIKE '%" +
      std::string(word) + "%'");
}

TEST(Endings, sql_has_the_same_vocabulary) {
  TestDatabase database;
  for (const EndingCode& known : kEndingCodes) {
    EXPECT_EQ(database.value("SELECT parkd.is_retryable_v1(" + quoted(known.code) + ")"),
              known.is_retryable ? "t" : "f")
        << known.code;
    if (known.outcome == Outcome::failed) continue;
    EXPECT_EQ(database.number("SELECT parkd.status_code_v1(" + quoted(known.code) + ")"),
              known.http_status)
        << known.code;
  }
  std::string outcomes;
  for (const Outcome outcome : {Outcome::completed, Outcome::failed, Outcome::cancelled,
                                Outcome::deadline_missed, Outcome::quarantined}) {
    outcomes += (outcomes.empty() ? "" : " ") + std::string(to_string(outcome));
  }
  EXPECT_EQ(database.value("SELECT array_to_string(enum_range(NULL::parkd.outcome), ' ')"),
            outcomes);
}

TEST(Endings, sql_says_what_is_retried_in_one_place) {
  TestDatabase database;
  for (const EndingCode& known : kEndingCodes) {
    if (!known.is_retryable) continue;
    EXPECT_EQ(functions_with(database, quoted(known.code).insert(0, "'").append("'")),
              "is_retryable_v1")
        << known.code;
  }
}

TEST(FileStages, are_in_sql_in_the_same_order) {
  TestDatabase database;
  std::string stages;
  for (int stage = 0; stage <= static_cast<int>(FileStage::failed); ++stage) {
    stages += (stage == 0 ? "" : " ") + std::string(to_string(static_cast<FileStage>(stage)));
  }
  EXPECT_EQ(database.value("SELECT array_to_string(enum_range(NULL::parkd.file_stage), ' ')"),
            stages);
}

TEST(Endpoints, sql_knows_the_same_paths) {
  TestDatabase database;
  std::string paths;
  for (const EndpointPath& endpoint : kEndpoints) {
    paths += (paths.empty() ? "" : " ") + std::string(endpoint.path);
    EXPECT_EQ(functions_with(database, endpoint.path), "endpoints_v1") << endpoint.path;
  }
  EXPECT_EQ(database.value("SELECT array_to_string(parkd.endpoints_v1(), ' ')"), paths);
}

}  // namespace
}  // namespace parkd
