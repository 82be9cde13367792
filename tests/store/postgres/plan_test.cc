// Every statement of the store reads what it is about, however many rows are stored and whatever
// the statistics say. One table of statements and limits; none of them depends on plan_rows(), so a
// statement that scans passes with few rows only.
#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <regex>
#include <set>

#include "lib/store/postgres/client_statements.h"
#include "lib/store/postgres/file_statements.h"
#include "lib/store/postgres/outbox_statements.h"
#include "lib/store/postgres/statements.h"
#include "tests/store/postgres/plan_world.h"

namespace parkd {
namespace {

// Arguments of the verbs that take arrays, for `n` jobs.
std::string all(int n, const std::string& value) {
  return "array_fill(" + value + ", '{" + std::to_string(n) + "}')";
}

std::string list(int n, const std::string& prefix) {
  std::string text = "'{";
  for (int i = 0; i < n; ++i) text += (i == 0 ? "" : ",") + prefix + std::to_string(i);
  return text + "}'";
}

// `n` jobs of a batch ("": none), keyed when `key` says so.
std::string submitted(int n, const std::string& batch, const std::string& key) {
  const std::string none = all(n, "NULL::bigint");
  const std::string empty = all(n, "''::text");
  return std::string("NULL, false, ") + (key.empty() ? "false" : "true") + ", " +
         (batch.empty() ? "false" : "true") + ", 3600000000, 50000, " + all(n, "0") + ", " +
         all(n, "'m'::text") + ", " + all(n, "'one'::text") + ", " + all(n, "'low'::text") + ", " +
         all(n, "'box'::text") + ", " + empty + ", " + all(n, "'" + batch + "'::text") + ", " +
         empty + ", " + (key.empty() ? empty : list(n, key)) + ", " +
         all(n, "'/v1/chat/completions'::text") + ", " + all(n, "'{}'::text") + ", " +
         all(n, "1::bigint") + ", " + none + ", " +
         (batch.empty() ? none : all(n, "{base} + 43200000000")) + ", " + none + ", " + none +
         ", " + all(n, "3") + ", " + all(n, "1") + ", " + all(n, "1") + ", " + all(n, "1") + ", " +
         all(n, "true");
}

std::string finished(const std::string& outcome) {
  const auto zeros = all(64, "1::bigint");
  const auto empty = all(64, "''::text");
  return "NULL, false, '{ids}', '{leases}', " + all(64, "'" + outcome + "'::text") + ", " + empty +
         ", " + empty + ", " + empty + ", " + all(64, "200") + ", " + all(64, "'{}'::text") + ", " +
         all(64, "1") + ", " + all(64, "1") + ", " + zeros + ", " + zeros + ", " + zeros + ", " +
         all(64, "false");
}

// of-file4, of no other.
std::string advanced(const std::string& stage) {
  return "'of-file4', '" + stage +
         "', 'm', 3, 500, NULL, 0, 0, false, 0, 0, false, 0, 0, 0, 0, NULL";
}

const std::string kStore = "'00000000-0000-0000-0000-000000000001', ";

// Sixteen messages of an embedded store.
std::string delivered() {
  const auto ones = all(16, "1::bigint");
  const auto empty = all(16, "''::text");
  const auto small = all(16, "1");
  std::string sql =
      kStore + "'00000000-0000-0000-0000-000000000002', NULL, " + list(16, "5000000") + ", " +
      ones + ", " + ones + ", " + all(16, "{base}::bigint") + ", " + all(16, "{base}::bigint") +
      ", " + all(16, "{base} + 86400000000") + ", " + ones + ", " + ones + ", " + ones + ", " +
      small + ", " + small + ", " + small + ", " + small + ", " + all(16, "'completed'::text") +
      ", " + all(16, "'one'::text") + ", " + all(16, "'box'::text") + ", " + all(16, "'m'::text");
  for (int i = 0; i < 7; ++i) sql += ", " + empty;
  return sql;
}

struct Row {
  Statement statement;
  std::string arguments;
  int64_t tuples_max;
};

constexpr int kOfThePlanner = 2;  // it may look at the end of an index
constexpr int kClaim = 64;
constexpr int kBatchesLooked = 20;
const std::string kInAnHour = "{base} + 3600000063";        // 64 scheduled jobs are due
const std::string kInSixHours = "{base} + 21600000064";     // 64 keys are to be looked at
const std::string kInTwelveHours = "{base} + 43200000000";  // the members' deadline
const std::string kTomorrow = "{base} + 86399999999";       // before ours is lost
const std::string kNoLimits = ", NULL, NULL, NULL, NULL";
const std::string kOfNoFile = ", NULL, NULL, NULL, NULL, NULL, NULL";
const std::string kAny = ", NULL";                   // no job is named
const std::string kLater = "{base} + 172800000000";  // our daemon is lost

// A claimed job ended: found, locked, deleted, its partitions' days; what became of it.
constexpr int kEnded = 10;

// What the daemon sends, as its owner. The limits are rows of jobs, mailbox, history, keys and
// batches, by any way.
const std::vector<Row>& daemon_statements() {
  static const std::vector<Row> rows = {
      // --- registration
      {sql::kRegister, "'h', 1, 'v', 30, NULL", 0},
      {sql::kHeartbeat, "{daemon}, NULL, false, NULL", 0},
      {sql::kReturnUnknownClaims, "{daemon}, '{}', NULL", kClaim * 6},
      {sql::kUnregister, "{daemon}, NULL", kClaim * 6},
      {sql::kEnsurePartitions, "NULL", 0},
      {sql::kEnsurePartitionsFor, "'{ids}', NULL", kClaim},
      {sql::kRegisterModel, "'m', '', 8192", 0},
      {sql::kModelHash, "'m'", 0},
      // --- submitting: no other job
      {sql::kSubmit, submitted(64, "", ""), 4},
      {sql::kSubmit, submitted(64, "", "fresh"), 64 * 3},
      {sql::kSubmit, submitted(64, "", "key"), 64 * 6},
      {sql::kSubmit, submitted(64, "members0", ""), 64 * 3},
      {sql::kKnownKeys, "'{one,one}', '{key1,key2}', NULL", 2 * 3},
      {sql::kWaiting, "'m', 'one', 1000000, 10000", 0},  // from the sample
      // --- claiming: each found and locked, updated where it is; of tenants that share, two
      // windows
      {sql::kClaim, "{daemon}, 'm', 64, NULL, true" + kNoLimits + kAny, kClaim + 2},
      {sql::kClaim, "{daemon}, 'shared', 64, NULL, true" + kNoLimits + kAny, 2 * 1024 + kClaim},
      {sql::kClaim, "{daemon}, 'nothing_queued', 64, NULL, true" + kNoLimits + kAny, 4},
      // ... with limits: of room, alone and shared; of need, which nothing and everything fits
      {sql::kClaim, "{daemon}, 'm', 64, NULL, true, NULL, NULL, 63, NULL" + kAny, kClaim + 2},
      {sql::kClaim, "{daemon}, 'm', 64, NULL, true, '{one}', '{0}', 64, NULL" + kAny, 2},
      {sql::kClaim, "{daemon}, 'm', 64, NULL, true, NULL, NULL, NULL, 9" + kAny, 2 * 1024},
      {sql::kClaim,
       "{daemon}, 'shared', 64, NULL, true, '{tenant1,tenant2}', '{0,1}', 8, NULL" + kAny,
       2 * 1024 + kClaim},
      {sql::kClaim, "{daemon}, 'shared', 64, NULL, true, '{tenant1}', '{5}', 0, NULL" + kAny,
       kClaim},
      {sql::kClaim, "{daemon}, 'shared', 64, NULL, true, NULL, NULL, 8, 9" + kAny,
       2 * 1024 + kClaim},
      {sql::kClaim, "{daemon}, 'shared', 64, NULL, true, NULL, NULL, 8, 1000000" + kAny,
       2 * 1024 + 2 * kClaim},
      // ... by name: found, counted, updated
      {sql::kClaim, "{daemon}, 'm', 64, NULL, true, NULL, NULL, NULL, NULL, '{{queued}}'", 4},
      {sql::kRelease,
       "'{ids}', '{leases}', " + all(64, "false") + ", " + all(64, "NULL::bigint") +
           ", NULL, false",
       kClaim * 6},
      {sql::kRelease,
       "'{ids}', '{leases}', " + all(64, "false") + ", " + all(64, "NULL::bigint") + ", NULL, true",
       kClaim * 8},
      {sql::kNoteDeaths, "'{ids}', '{leases}', true, NULL", kClaim * 6},
      // --- endings
      {sql::kFinish, finished("completed"), kClaim},
      {sql::kFinish, finished("failed"), kClaim},
      {sql::kCancel, "{queued}, '', 2592000, NULL", 12},
      {sql::kCancel, "{claimed}, 'one', 2592000, NULL", 4},
      {sql::kCancel, "1000000009, '', 2592000, NULL", 4},
      {sql::kAttach, "{daemon}, {queued}, 60", 1},
      {sql::kAttach, "{daemon}, {queued}, NULL", 1},
      {sql::kAttach, "{daemon}, 1000000009, 60", 1},
      {sql::kDetach, "{daemon}, {queued}", 0},
      {sql::kKeep, "{queued}", 0},
      {sql::kAdopt, "{daemon}", 0},
      {sql::kRequeue, "'', '{1000000013,1000000023}', '{}', '', '', 10, NULL", 24},
      {sql::kRequeue, "'', '{{big}}', '{}', '', '', 10, NULL", 12},
      {sql::kRequeue, "'', '{}', '{internal}', '', '', 10, NULL", 160},
      {sql::kRequeue, "'', '{}', '{internal,run_timeout}', '', '', 10, NULL", 160},
      {sql::kRequeue, "'one', '{}', '{internal}', '', '', 10, NULL", 160},
      {sql::kRequeue, "'tenant1', '{}', '{internal}', '', '', 10, NULL", 0},  // they are one's
      {sql::kRequeue, "'', '{}', '{run_timeout}', '', '', 10, NULL", 0},
      {sql::kRequeue, "'one', '{}', '{}', '', 'members0', 10, NULL", 0},  // none has ended
      // --- batches: members0 has a thousand
      {sql::kOpenBatch, "'one', '', NULL, '', NULL, NULL, 3600, false, NULL, 5" + kOfNoFile, 5 + 2},
      {sql::kOpenBatch, "'one', '', NULL, 'key', NULL, NULL, 3600, false, NULL, 5" + kOfNoFile,
       5 + 2},
      {sql::kOpenBatch,
       "'one', '', NULL, 'k', NULL, NULL, 3600, false, NULL, 5, 'file', '/v1', '24h', '', 7, "
       "'https://h'",
       5 + 4},
      {sql::kSealBatch, "'members0', 'one', NULL", 4},
      {sql::kCancelBatch, "'members0', 'one', NULL", 1000 * 10},
      {sql::kEndCancelled, "0, 'members0', NULL", 1000},
      {sql::kGetBatch, "'members0', 'one', NULL", 1001},
      {sql::kGetBatch, "'of-file4', '', NULL", 2},
      {sql::kListBatches, "NULL, '', 100, NULL, ''", 200},  // with their files
      {sql::kListBatches, "'tenant7', 'open77', 100, NULL, ''", 100},
      {sql::kListBatches, "'nobody', '', 100, NULL, ''", 0},
      {sql::kListBatches, "NULL, 'of-file200', 100, true, ''", 201},
      {sql::kListBatches, "'tenant7', '', 100, true, ''", 20},
      {sql::kListBatches, "'two', 'of-file200', 100, true, ''", 201},
      {sql::kListBatches, "'tenant7', 'open77', 100, false, ''", 100},
      {sql::kListBatches, "'two', '', 1, NULL, 'nobodys'", 4 * 2},  // all that need a daemon
      // ... of files: three that others hold, and the one that is found, locked and updated
      {sql::kNextBatchWork, "'d', 60, '{}', '{}', NULL", 4 * 2 + 4},
      {sql::kNextBatchWork, "'d', 60, '{of-file4}', '{}', NULL", 4 * 2},
      {sql::kAdvanceBatch, advanced("expanding"), 8},
      {sql::kAdvanceBatch, advanced("running"), 12},
      // ... their webhooks: three that others hold, and the one that is found, locked and updated
      {sql::kNextWebhook, "'d', 60, '{}', '{}', NULL", 4 + 6},
      {sql::kNextWebhook, "'d', 60, '{of-file12}', '{}', NULL", 5 + 6},
      {sql::kNoteWebhook, "'of-file12', 1, 'pending', 5000, 'HTTP 500', NULL", 6},
      {sql::kNoteWebhook, "'of-file4', 1, 'delivered', 0, '', NULL", 4},
      {sql::kWebhooksPending, "", 1000},
      {sql::kFilesOfBatches, "'{of-file4,open7,none}'", 3},
      // --- looking
      {sql::kGetJob, "NULL, {queued}, ''", 1},
      {sql::kGetMessage, "NULL, 1000000009, 'one'", 2},
      {sql::kGetMessage, "NULL, {big}, 'one'", 2},
      {sql::kGetHistory, "NULL, 1000000009, 'one', 2592000", 1},
      {sql::kList, "NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 100", 100},
      {sql::kList, "NULL, {queued} - 300, NULL, 'one', 'm', 'queued', NULL, NULL, NULL, 100", 100},
      {sql::kList, "NULL, {claimed}, NULL, NULL, NULL, 'claimed', NULL, NULL, NULL, 100",
       2 * kClaim},
      {sql::kList, "NULL, 0, NULL, NULL, NULL, NULL, 'members0', NULL, NULL, 100", 1000},
      {sql::kListUntil, "{queued} - 300, 200", 200},
      {sql::kList,
       "NULL, {queued} - 300, {queued} - 100, NULL, NULL, NULL, NULL, 'nobodys', NULL, 100", 200},
      {sql::kDepths, "NULL", 10'001},
      {sql::kSampleDepth, "NULL, 3600", 0},
      // --- the mailbox: twenty messages a key
      {sql::kFetch, "'one', 'box7', 0, 100, NULL, 1000000", 20},
      {sql::kFetch, "'one', 'box8', {sequence}, 5, NULL, 1000000", 16},
      {sql::kFetch, "'one', 'nothing', 0, 100, NULL, 1000000", 0},
      {sql::kResultsPayload, "'one', 'box'", 0},
      {sql::kTake, "'one', 'box8', '{sequences}', NULL", 3 * 20},
      {outbox_sql::kOpenOutbox,
       kStore + "2, '00000000-0000-0000-0000-000000000003', 1000000, 'h', NULL", 0},
      {outbox_sql::kDeliver, delivered(), 0},
      {outbox_sql::kEnsureDeliveryPartitions, "'{{base}}', '{{base}}', NULL", 0},
      {outbox_sql::kFetchOrigin, kStore + "'one', 'origin8', 0, 100, {base}, 1000000", 20},
      {outbox_sql::kTakeOrigin, kStore + "'one', 'origin8', '{origin_sequences}', {base}",
       20 * 8 + 2 * 20},
      {outbox_sql::kCountMessages, "NULL", 10'001},
      // --- files: tenant one has ten, ten that were removed, and an upload
      {file_sql::kTenantFiles, "'one', '', NULL", 21},
      {file_sql::kTenantFiles, "'nobody', '', NULL", 0},
      {file_sql::kBeginUpload, "'file-new', 'one', 3600, NULL", 0},
      // found and updated; a new piece looks its file up; the same again finds both
      {file_sql::kAppendPiece, "'file-begun', 1, 1, 5, 'y', NULL", 4},
      {file_sql::kAppendPiece, "'file-begun', 0, 0, 1, 'x', NULL", 4},
      {file_sql::kAppendPiece, "'file-none', 0, 0, 1, 'x', NULL", 0},
      {file_sql::kFinishUpload, "'file-begun', 1, 'a.jsonl', 'batch', 3600, NULL", 4},
      {file_sql::kAbandonUpload, "'file-begun'", 2},
      {file_sql::kGetFile, "'file-kept', 'one', NULL", 1},
      {file_sql::kReadPiece, "'file-kept', 'one', 1, NULL", 2},
      {file_sql::kReadPiece, "'file-kept', '', 7, NULL", 1},
      {file_sql::kListFiles, "'one', '', '', false, 100, NULL", 10},
      {file_sql::kListFiles, "'two', 'batch', '', true, 100, NULL", 100},
      {file_sql::kListFiles, "NULL, '', '', false, 100, NULL", 100},
      {file_sql::kListFiles, "NULL, '', 'file-kept', true, 100, NULL", 102},
      {file_sql::kKeepFile, "'file-kept', 'one', 4000000000000000, NULL", 4},
      {file_sql::kRemoveFile, "'file-kept', 'one', NULL", 2},
      // a hundred files of three pieces, or the large one's first; each found, locked, looked up
      {file_sql::kPurgeFiles, "1000, '{}', 60, 4000000000000000, NULL", 100 * 20},
      {file_sql::kPurgeFiles, "64, '{file-begun}', 60, 4000000000000000, NULL", 100 + 64 * 4},
      // --- housekeeping: nothing to do, and something
      {sql::kRescue, "NULL", 4},
      {sql::kRescue, kLater, kClaim * 6},
      {sql::kPromote, "NULL", 4},
      {sql::kPromote, kInAnHour, 64 * 2 + 4},
      {sql::kEndCancelled, "0, NULL, NULL", 0},
      {sql::kEndOverdue, "NULL", 0},
      {sql::kEndOverdue, kInTwelveHours, 1000 * (kEnded + 3)},
      // twenty of the batches that run, a member each
      {sql::kTidy, "2592000, 86400, NULL", kBatchesLooked * 2},
      {sql::kTidy, "2592000, 86400, " + kInSixHours, 64 * 5 + kBatchesLooked * 2},
      {sql::kKeepModels, "'{m}', '{abc}', '{8192}', NULL", 0},
      {sql::kMishaps, "NULL", 0},
      {sql::kDropPastPartition, "'mailbox', 0, NULL, 4000000000000000", 0},
      {sql::kDropPastPartition, "'history', 2592000, NULL, 4000000000000000", 0},
      {sql::kDeadRows, "", 0},
      {sql::kFinishingNow, "", 0},
      // Last: of what it is rolled back, the others would pass the remains.
      {sql::kSubmitAndClaim, submitted(64, "", "") + ", {daemon}, false, " + all(64, "true"),
       64 * 8},
  };
  return rows;
}

// What people and jobctl send, as a login of tenant one that is a submitter and a reader.
constexpr Statement kInsert{"insert",
                            "INSERT INTO parkd.jobs (model, body) SELECT 'm', '{\"messages\":[]}' "
                            "FROM generate_series(1, $1)"};
constexpr Statement kResultsOfAKey{
    "results_of_a_key",
    "SELECT custom_id, outcome, text FROM parkd.results WHERE mailbox_key = $1"};
constexpr Statement kResultsAfter{"results_after",
                                  "SELECT custom_id, text FROM parkd.results WHERE mailbox_key = "
                                  "$1 AND sequence > $2 ORDER BY sequence LIMIT 5"};

const std::vector<Row>& peoples_statements() {
  static const std::vector<Row> rows = {
      {kInsert, "64", 0},
      {client_sql::kSubmitJson, "'{\"model\":\"m\",\"body\":{\"messages\":[]}}'", 0},
      {client_sql::kSubmitJson,
       "'{\"model\":\"m\",\"body\":{\"messages\":[]},\"idempotency_key\":\"new\"}'", 2},
      {client_sql::kStillLive, "'{1,{queued},1000000009}'", 3},
      {sql::kGetJob, "NULL, {claimed}, 'one'", 1},
      {client_sql::kLiveStates, "'{ids}'", 2 * kClaim},
      {client_sql::kListJobs,
       "NULL, {queued} - 300, NULL, 'one', 'm', 'queued', NULL, NULL, NULL, 100", 100},
      {client_sql::kListJobs, "NULL, 0, NULL, NULL, NULL, 'claimed', NULL, NULL, NULL, 100",
       2 * kClaim},
      {client_sql::kFindMessage, "1000000009, ''", 2},
      {client_sql::kFindMessage, "{big}, ''", 2},
      {client_sql::kFindPast, "1000000009, ''", 1},
      {client_sql::kCancelJob, "{queued}", 12},
      {client_sql::kCancelJob, "{claimed}", 4},
      {client_sql::kRequeueJobs, "'{1000000013}', '', 10, '', '{}'", 12},
      {client_sql::kRequeueJobs, "'{{big}}', '', 10, '', '{}'", 12},
      {client_sql::kRequeueJobs, "'{}', '', 10, '', '{internal}'", 160},
      {client_sql::kFetchPage, "'box7', 0, 100, ''", 20},
      {client_sql::kFetchPage, "'box8', {sequence}, 5, ''", 16},
      {client_sql::kTakeOldest, "'box8', 5, ''", 3 * 20},
      {client_sql::kTakeOldest, "'nothing', 5, ''", 0},
      {client_sql::kResultsPayload, "'box', ''", 0},
      // and the tenant's unfinished batches are counted, up to the limit
      {client_sql::kOpenBatch, "NULL, NULL, 'name', NULL, 'key'", 2 + 3},
      {client_sql::kSealBatch, "'members0'", 4},
      {client_sql::kCancelBatch, "'members0'", 1000 * 10},
      {client_sql::kBatch, "'members0', ''", 1},
      {client_sql::kLiveMembers, "'members0'", 1000},
      {client_sql::kModels, "", 0},
      {kResultsOfAKey, "'box7'", 20},
      {kResultsAfter, "'box8', {sequence}", 16},
  };
  return rows;
}

class Plans : public testing::TestWithParam<Statistics> {
 protected:
  // Filled once for each kind of statistics; what a test does is undone.
  static std::map<Statistics, std::unique_ptr<PlanWorld>>& worlds() {
    static std::map<Statistics, std::unique_ptr<PlanWorld>> made;
    return made;
  }
  static void TearDownTestSuite() { worlds().clear(); }

  // With rows that are not there: a statement may refuse.
  static void rehearse(PlanWorld& world) {
    const auto all_of = [&](const std::vector<Row>& rows, const std::string& login) {
      for (const Row& row : rows) {
        try {
          world.cost(row.statement, row.arguments, login);
        } catch (const pqxx::sql_error&) {
        }
      }
    };
    all_of(daemon_statements(), "postgres");
    all_of(peoples_statements(), "plan_user");
  }

  static PlanWorld& world() {
    std::unique_ptr<PlanWorld>& shared = worlds()[GetParam()];
    if (shared == nullptr) shared = std::make_unique<PlanWorld>(GetParam(), rehearse);
    return *shared;
  }

  // Pages of a row's tables and indexes, and those of 33 partitions that an index of each says no
  // in. A walk over the queue's smallest index passes this.
  static int64_t pages_max(const Row& row) { return 1000 + 12 * row.tuples_max; }

  static void expect_limits(const std::vector<Row>& rows, const std::string& login) {
    for (const Row& row : rows) {
      const Reads read = world().cost(row.statement, row.arguments, login);
      const std::string what = std::string(row.statement.name) + " " + row.arguments.substr(0, 60);
      EXPECT_LE(read.tuples, row.tuples_max + kOfThePlanner) << what;
      EXPECT_LE(read.entries, 100 + 3 * row.tuples_max) << what;
      EXPECT_LE(read.pages, pages_max(row)) << what;
      if (std::getenv("PARKD_PLANS") != nullptr) {
        std::printf("%-24s tuples %7lld of %6lld entries %7lld pages %7lld   %s\n",
                    row.statement.name, static_cast<long long>(read.tuples),
                    static_cast<long long>(row.tuples_max), static_cast<long long>(read.entries),
                    static_cast<long long>(read.pages), row.arguments.substr(0, 50).c_str());
      }
    }
  }
};

TEST_P(Plans, a_daemons_statement_reads_what_it_is_about) {
  expect_limits(daemon_statements(), "postgres");
}

TEST_P(Plans, a_persons_statement_reads_what_it_is_about) {
  expect_limits(peoples_statements(), "plan_user");
}

// The one statement that reads the queue reads it once.
TEST_P(Plans, a_sample_of_the_depth_reads_each_job_once) {
  world().database().run(
      "INSERT INTO parkd.depth_samples VALUES ('gone', 0, 0, 0, 0, NULL, now()) ON CONFLICT DO "
      "NOTHING");
  const int64_t n_jobs = world().database().number("SELECT count(*) FROM parkd.jobs");
  EXPECT_LE(world().cost(sql::kSampleDepth, "NULL, NULL").tuples, n_jobs + n_jobs / 10);
}

// The one statement that reads all files reads each once, and no piece.
TEST_P(Plans, the_figures_of_files_read_each_row_once) {
  const int64_t n_files = world().database().number("SELECT count(*) FROM parkd.files");
  EXPECT_LE(world().cost(file_sql::kFileFigures, "NULL").tuples, n_files + kOfThePlanner);
}

// Where nobody samples, what waits is counted no further than the limits need.
TEST_P(Plans, a_count_without_a_sample_stops_at_the_limits) {
  world().database().run("CREATE TABLE parkd.kept AS SELECT * FROM parkd.depth_samples");
  world().database().run("DELETE FROM parkd.depth_samples");
  EXPECT_LE(world().cost(sql::kWaiting, "'m', 'one', 100, 50").tuples, 2 * 151 + kOfThePlanner);
  EXPECT_LE(world().cost(sql::kWaiting, "'shared', 'tenant3', 100, 50").tuples,
            2 * 151 + kOfThePlanner);
  EXPECT_LE(world().cost(sql::kWaiting, "'later', 'one', 100, 50").tuples, 200 + kOfThePlanner);
  world().database().run("INSERT INTO parkd.depth_samples SELECT * FROM parkd.kept");
  world().database().run("DROP TABLE parkd.kept");
}

std::string name_of(const testing::TestParamInfo<Statistics>& given) {
  constexpr const char* kNames[] = {"none", "stale", "fresh", "early_plans"};
  return kNames[static_cast<int>(given.param)];
}

INSTANTIATE_TEST_SUITE_P(statistics, Plans,
                         testing::Values(Statistics::none, Statistics::of_the_empty_tables,
                                         Statistics::fresh, Statistics::plans_of_the_empty_tables),
                         name_of);

// Half a million queued jobs of a tenant stand in front of everybody's; so do critical ones.
TEST(Crowd, hides_nobody_from_a_claim_that_passes_it_over) {
  PlanWorld world(PlanWorld::Crowd{500'000});
  const struct {
    const char* what;
    std::string arguments;
    int64_t n_claimed, tuples_max;
  } kClaims[] = {
      {"without limits", "'crowded', 8, NULL, true" + kNoLimits, 8, 200},
      {"the crowd has no room", "'crowded', 8, NULL, true, '{crowd}', '{0}', 8, NULL", 8, 200},
      {"some of it", "'crowded', 8, NULL, true, '{crowd}', '{1}', 4, NULL", 8, 200},
      {"nobody else has room", "'crowded', 8, NULL, true, '{crowd}', '{2}', 0, NULL", 2, 100},
      {"it does not fit", "'crowded', 8, NULL, true, NULL, NULL, NULL, 30", 8, 1500},
      {"nor has it room", "'crowded', 8, NULL, true, '{crowd}', '{0}', 8, 30", 8, 1500},
      {"nothing fits", "'crowded', 8, NULL, true, NULL, NULL, 8, 3", 0, 1500},
      {"critical", "'urgent', 8, NULL, true" + kNoLimits, 8, 200},
      {"critical without room", "'urgent', 8, NULL, true, '{crowd}', '{0}', 8, NULL", 8, 200},
      {"critical that does not fit", "'urgent', 8, NULL, true, NULL, NULL, 8, 30", 8, 3000},
      {"the crowd alone", "'alone', 8, NULL, true, NULL, NULL, 3, NULL", 3, 100},
      {"alone, none fits", "'alone', 8, NULL, true, NULL, NULL, NULL, 30", 0, 1500},
  };
  for (const auto& claim : kClaims) {
    const Reads read = world.cost(sql::kClaim, "{daemon}, " + claim.arguments + kAny);
    EXPECT_LE(read.tuples, claim.tuples_max) << claim.what;
    EXPECT_LE(read.entries, 100 + 3 * claim.tuples_max) << claim.what;
    EXPECT_EQ(world.rows(sql::kClaim, "{daemon}, " + claim.arguments + kAny), claim.n_claimed)
        << claim.what;
  }
  // What /metrics and /readyz ask for.
  EXPECT_LE(world.cost(sql::kDepths, "NULL").pages, 500);
}

// A statement that nobody gave a limit is a failure.
TEST(PlanTable, every_statement_has_a_limit_or_a_reason) {
  std::set<std::string> known = {
      "transaction_status",
      "server",
      "writable",  // no table of ours
      "vacuum_jobs",
      "vacuum_idempotency",  // whole tables, at most once a minute
      "client_begin",
      "client_commit",
      "client_register_model",  // register_model, by administrators
      "file_figures",           // the_figures_of_files_read_each_row_once
  };
  for (const auto* rows : {&daemon_statements(), &peoples_statements()}) {
    for (const Row& row : *rows) known.insert(row.statement.name);
  }
  size_t n_found = 0;
  for (const char* header :
       {"statements.h", "client_statements.h", "file_statements.h", "outbox_statements.h"}) {
    std::ifstream file(std::string(PARKD_STATEMENTS_DIR) + "/" + header);
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const std::regex declared(R"(constexpr Statement k\w+\{\s*"(\w+)\")");
    for (std::sregex_iterator at(text.begin(), text.end(), declared), end; at != end; ++at) {
      ++n_found;
      EXPECT_EQ(known.count((*at)[1]), 1u) << (*at)[1] << " of " << header;
    }
  }
  EXPECT_GT(n_found, 70u);
}

}  // namespace
}  // namespace parkd
