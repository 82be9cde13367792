// The files' suite on PostgreSQL, and what is the database's alone: who may see what, commits that
// are not answered, restarts, several daemons, portions.
#include "tests/store/files/files_suite.h"

#include <cstdlib>
#include <optional>

#include "lib/base/text.h"
#include "lib/store/file_rules.h"
#include "lib/store/postgres/migrator.h"
#include "lib/store/postgres/postgres_files.h"
#include "tests/store/postgres/fault_proxy.h"
#include "tests/store/postgres/store_rig.h"

namespace parkd {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr auto kPiece = static_cast<int64_t>(kFilePieceBytes);

std::string quoted(const std::string& text) {
  return "'" + text + "'";
}

// One database for the whole run, emptied for each test: to make one takes longer than most tests.
// Those that change its schema or stop the server have one of their own.
class SharedDatabase final : public testing::Environment {
 public:
  void SetUp() override { database = std::make_unique<TestDatabase>(); }
  void TearDown() override { database.reset(); }
  static inline std::unique_ptr<TestDatabase> database;
};
const auto* const kEnvironment = testing::AddGlobalTestEnvironment(new SharedDatabase);

class PostgresFilesHome final : public FilesHome {
 public:
  PostgresFilesHome() { database_.empty(); }
  std::unique_ptr<FileStore> open(const FileLimits& limits, Clock& clock) override {
    PostgresOptions options = quiet_options(database_.dsn());
    options.test_clock = &clock;
    if (const char* pooler = std::getenv("PARKD_TEST_POOLER")) {
      options.dsn += " " + std::string(pooler);
      options.transaction_pooling = true;
    }
    auto opened = open_postgres_files(std::move(options), limits);
    EXPECT_TRUE(opened.ok()) << opened.status().to_string();
    return opened.ok() ? std::move(opened).value() : nullptr;
  }
  void flip_bit(const std::string& id, int64_t piece) override {
    database_.run(
        "UPDATE parkd.file_pieces SET bytes = set_bit(bytes, 4567, 1 - get_bit(bytes, "
        "4567))" +
        where(id, piece));
  }
  void lose_piece(const std::string& id, int64_t piece) override {
    database_.run("DELETE FROM parkd.file_pieces" + where(id, piece));
  }
  int64_t n_kept() override {
    return database_.number(
        "SELECT (SELECT count(*) FROM parkd.files) + (SELECT count(*) FROM parkd.file_pieces)");
  }

 private:
  static std::string where(const std::string& id, int64_t piece) {
    return " WHERE file_id = " + quoted(id) + " AND n = " + std::to_string(piece);
  }
  TestDatabase& database_ = *SharedDatabase::database;
};

INSTANTIATE_TEST_SUITE_P(stores, FilesSuite,
                         testing::Values(FilesFactory{
                             "postgres", [] { return std::make_unique<PostgresFilesHome>(); }}),
                         name_of_files);

struct FilesRig {
  std::unique_ptr<FileStore> store;
  std::optional<FileDriver> driver;

  explicit FilesRig(PostgresOptions options, FileLimits limits = {}) {
    auto opened = open_postgres_files(std::move(options), limits);
    EXPECT_TRUE(opened.ok()) << opened.status().to_string();
    store = std::move(opened).value();
    driver.emplace(*store);
  }
  FileDriver* operator->() { return &*driver; }
};

class PostgresFilesTest : public testing::Test {
 protected:
  PostgresFilesTest() { database_.empty(); }
  int64_t n_rows(const std::string& table) {
    return database_.number("SELECT count(*) FROM parkd." + table);
  }
  TestDatabase& database_ = *SharedDatabase::database;
};

const FileSpec kSpec{.filename = "in.jsonl"};

// --- several daemons

TEST_F(PostgresFilesTest, any_daemon_serves_what_another_took) {
  FilesRig one(quiet_options(database_.dsn()));
  FilesRig other(quiet_options(database_.dsn()));
  const std::string bytes = file_bytes(2 * kFilePieceBytes + 5, 1);
  const auto file = one->upload("t", bytes);
  ASSERT_TRUE(file.ok()) << file.status().to_string();
  EXPECT_EQ(other->get(file->id, "t").value(), *file);
  EXPECT_EQ(other->read(file->id, "t").value(), bytes);
  EXPECT_EQ(other->list({.tenant = "t"}).value().size(), 1u);
  ASSERT_TRUE(other->remove(file->id, "t").ok());
  EXPECT_EQ(one->get(file->id, "t").status().code(), StatusCode::not_found);
  // An upload is its daemon's that began it.
  const auto id = one->begin("t");
  ASSERT_TRUE(id.ok());
  EXPECT_EQ(other->append(*id, "x").status().code(), StatusCode::not_found);
  EXPECT_EQ(other->finish(*id, kSpec).status().code(), StatusCode::not_found);
  EXPECT_EQ(other->figures()->uploads, 1);
  EXPECT_EQ(one->append(*id, "x").value(), 1);
}

TEST_F(PostgresFilesTest, an_upload_that_was_refused_a_piece_never_becomes_a_file) {
  FileLimits limits;
  limits.file_bytes_max = kPiece;
  FilesRig daemon(quiet_options(database_.dsn()), limits);
  const auto id = daemon->begin("t");
  ASSERT_TRUE(id.ok());
  ASSERT_TRUE(daemon->append(*id, std::string(kFilePieceBytes, 'x')).ok());
  EXPECT_EQ(daemon->append(*id, "y").status().error_code(), kFileTooLarge);
  EXPECT_EQ(daemon->finish(*id, kSpec).status().code(), StatusCode::not_found);
  EXPECT_EQ(daemon->figures()->files, 0);
}

// What a dead daemon had begun counts, like any upload, until nobody has told of it for a minute; a
// daemon that lives may leave its own alone for as long as it likes.
TEST_F(PostgresFilesTest, what_a_dead_daemon_had_begun_is_swept_by_another) {
  FilesRig other(quiet_options(database_.dsn()));
  {
    FilesRig dead(quiet_options(database_.dsn()));
    const std::string id = dead->begin("t").value();
    ASSERT_TRUE(dead->append(id, std::string(kFilePieceBytes, 'x')).ok());
    const auto grow_older = [&](const std::string& by) {
      database_.run("UPDATE parkd.files SET seen_at = seen_at - interval " + quoted(by));
    };
    grow_older("50 seconds");
    EXPECT_EQ(other->purge().value(), 0);
    ASSERT_TRUE(dead->purge().ok());  // it is not dead yet
    grow_older("50 seconds");
    EXPECT_EQ(other->purge().value(), 0);
    ASSERT_TRUE(dead->append(id, std::string(kFilePieceBytes, 'x')).ok());
    grow_older("50 seconds");
    EXPECT_EQ(other->purge().value(), 0);
  }
  EXPECT_EQ(other->figures()->uploads, 1);
  database_.run("UPDATE parkd.files SET seen_at = seen_at - interval '10 seconds'");
  EXPECT_EQ(other->purge().value(), 1);
  EXPECT_EQ(n_rows("files") + n_rows("file_pieces"), 0);
}

// However alive its daemon is.
TEST_F(PostgresFilesTest, an_upload_of_more_than_an_hour_is_given_up) {
  FilesRig daemon(quiet_options(database_.dsn()));
  const std::string id = daemon->begin("t").value();
  const std::string empty = daemon->begin("t").value();
  database_.run("UPDATE parkd.files SET expires_at = expires_at - interval '59 minutes'");
  EXPECT_EQ(daemon->purge().value(), 0);
  ASSERT_TRUE(daemon->append(id, std::string(kFilePieceBytes, 'x')).ok());
  database_.run("UPDATE parkd.files SET expires_at = expires_at - interval '1 minute'");
  EXPECT_EQ(daemon->append(id, "y").status().code(), StatusCode::not_found);
  for (const std::string& late : {id, empty}) {
    EXPECT_EQ(daemon->finish(late, kSpec).status().code(), StatusCode::not_found);
  }
  EXPECT_EQ(daemon->purge().value(), 2);
  EXPECT_EQ(n_rows("files") + n_rows("file_pieces"), 0);
}

// --- what a piece is in the database

TEST_F(PostgresFilesTest, pieces_are_neither_compressed_nor_rewritten) {
  FilesRig daemon(quiet_options(database_.dsn()));
  const auto file = daemon->upload("t", std::string(2 * kFilePieceBytes, 'x'));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(database_.number("SELECT min(pg_column_size(bytes)) FROM parkd.file_pieces"), kPiece);
  EXPECT_EQ(database_.number("SELECT count(DISTINCT checksum) FROM parkd.file_pieces"), 1);
}

TEST_F(PostgresFilesTest, a_large_file_is_gone_at_once_and_deleted_in_portions) {
  FilesRig daemon(quiet_options(database_.dsn()));
  const auto file = daemon->upload("t", "x");
  ASSERT_TRUE(file.ok());
  database_.run(
      "INSERT INTO parkd.file_pieces SELECT file_id, i, 0, 'y' FROM parkd.file_pieces, "
      "generate_series(1, 299) i");
  {
    // Not even somebody who has all its pieces locked holds a removal up.
    Idler idler(database_, "SELECT n FROM parkd.file_pieces FOR UPDATE");
    ASSERT_TRUE(daemon->remove(file->id, "t").ok());
  }
  EXPECT_EQ(n_rows("file_pieces"), 300);
  EXPECT_EQ(
      database_.value("SELECT is_more FROM parkd.purge_files_v1(64, '{}', '1 minute', now())"),
      "t");
  EXPECT_EQ(n_rows("file_pieces"), 236);
  EXPECT_EQ(n_rows("files"), 1) << "until it has none, for it says whose they are";
  EXPECT_EQ(daemon->purge().value(), 0) << "it was removed, not over";
  EXPECT_EQ(n_rows("files") + n_rows("file_pieces"), 0);
}

TEST_F(PostgresFilesTest, housekeeping_passes_over_what_somebody_holds) {
  FilesRig daemon(quiet_options(database_.dsn()));
  const auto held = daemon->upload("t", "x");
  const auto free = daemon->upload("t", "y");
  ASSERT_TRUE(held.ok() && free.ok());
  database_.run("UPDATE parkd.files SET expires_at = now() - interval '1 second'");
  {
    Idler idler(database_,
                "SELECT FROM parkd.files WHERE id = " + quoted(held->id) + " FOR UPDATE");
    EXPECT_EQ(daemon->purge().value(), 1);
    EXPECT_EQ(database_.value("SELECT id FROM parkd.files"), held->id);
  }
  EXPECT_EQ(daemon->purge().value(), 1);
  EXPECT_EQ(n_rows("files") + n_rows("file_pieces"), 0);
}

TEST_F(PostgresFilesTest, a_hand_does_not_leave_pieces_without_their_file) {
  FilesRig daemon(quiet_options(database_.dsn()));
  ASSERT_TRUE(daemon->upload("t", "x").ok());
  const auto session = database_.connect();
  EXPECT_NE(refusal(*session, "DELETE FROM parkd.files").find("file_pieces"), std::string::npos);
}

// --- damage

TEST(PostgresFiles, what_the_server_finds_damaged_is_damage) {
  TestDatabase database;
  FilesRig daemon(quiet_options(database.dsn()));
  const auto file = daemon->upload("t", "x");
  ASSERT_TRUE(file.ok());
  database.run(
      "CREATE FUNCTION damaged() RETURNS bytea LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION USING "
      "ERRCODE = 'data_corrupted', MESSAGE = 'missing chunk number 0 for toast value 1'; END $$; "
      "ALTER TABLE parkd.file_pieces RENAME TO real_pieces; CREATE VIEW parkd.file_pieces AS "
      "SELECT file_id, n, checksum, damaged() AS bytes FROM parkd.real_pieces");
  const auto read = daemon->read(file->id, "t");
  EXPECT_EQ(read.status().code(), StatusCode::corrupt) << read.status().to_string();
  EXPECT_EQ(daemon->figures()->notices.size(), 1u);
}

TEST_F(PostgresFilesTest, damage_is_logged_once_a_file) {
  FilesRig daemon(quiet_options(database_.dsn()));
  const auto file = daemon->upload("t", std::string(kFilePieceBytes + 1, 'x'));
  ASSERT_TRUE(file.ok());
  database_.run("UPDATE parkd.file_pieces SET checksum = checksum + 1");
  testing::internal::CaptureStderr();
  for (int64_t n = 0; n < 4; ++n) {
    EXPECT_EQ(daemon->piece(file->id, n % 2, "t").status().code(), StatusCode::corrupt);
  }
  const std::string log = testing::internal::GetCapturedStderr();
  const size_t at = log.find("files.damaged");
  ASSERT_NE(at, log.npos) << log;
  EXPECT_EQ(log.find("files.damaged", at + 1), log.npos) << log;
  EXPECT_NE(log.find(file->id), log.npos) << log;
}

// A failover to a standby that was behind, a restore: what the upload's process believes to be
// there is not.
TEST_F(PostgresFilesTest, an_upload_of_which_the_database_forgot_a_piece_never_becomes_a_file) {
  FilesRig daemon(quiet_options(database_.dsn()));
  const auto forget = [&] {
    database_.run("DELETE FROM parkd.file_pieces WHERE n = 1");
    database_.run("UPDATE parkd.files SET bytes = " + std::to_string(kPiece));
  };
  for (const bool appended : {true, false}) {
    const auto id = daemon->begin("t");
    ASSERT_TRUE(id.ok());
    for (const char fill : {'a', 'b'}) {
      ASSERT_TRUE(daemon->append(*id, std::string(kFilePieceBytes, fill)).ok());
    }
    forget();
    if (appended) {
      EXPECT_EQ(daemon->append(*id, std::string(kFilePieceBytes, 'c')).status().code(),
                StatusCode::not_found);
    }
    EXPECT_EQ(daemon->finish(*id, kSpec).status().code(), StatusCode::not_found);
    daemon.store->abandon_upload(*id);
  }
  EXPECT_EQ(daemon->figures()->files, 0);
}

// --- a database that is away

std::string control(const std::string& command) {
  return std::string(std::getenv("PG_SANDBOX_CTL")) + " " + command + " >/dev/null 2>&1";
}

TEST(PostgresFiles, an_upload_goes_on_after_a_restart_of_the_server) {
  TestDatabase database;
  PostgresOptions options = quiet_options(database.dsn());
  options.verb_limit = seconds(30);
  FilesRig daemon(options);
  const std::string bytes = file_bytes(3 * kFilePieceBytes, 7);
  const auto piece = [&](size_t n) { return bytes.substr(n * kFilePieceBytes, kFilePieceBytes); };
  const auto id = daemon->begin("t");
  ASSERT_TRUE(id.ok());
  ASSERT_TRUE(daemon->append(*id, piece(0)).ok());
  ASSERT_EQ(std::system(control("restart -m immediate").c_str()), 0);
  ASSERT_TRUE(daemon->append(*id, piece(1)).ok());
  ASSERT_EQ(std::system(control("restart -m fast").c_str()), 0);
  ASSERT_TRUE(daemon->append(*id, piece(2)).ok());
  ASSERT_EQ(std::system(control("restart -m immediate").c_str()), 0);
  const auto file = daemon->finish(*id, kSpec);
  ASSERT_TRUE(file.ok()) << file.status().to_string();
  EXPECT_EQ(daemon->read(file->id, "t").value(), bytes);
}

TEST(PostgresFiles, a_database_that_is_away_is_waited_for_and_then_unavailable) {
  TestDatabase database;
  PostgresOptions options = quiet_options(database.dsn());
  options.verb_limit = milliseconds(100);
  FilesRig daemon(options);
  const auto file = daemon->upload("t", "x");
  const auto id = daemon->begin("t");
  ASSERT_TRUE(file.ok() && id.ok());
  ASSERT_EQ(std::system(control("stop -m fast").c_str()), 0);
  EXPECT_EQ(daemon->get(file->id, "t").status().code(), StatusCode::unavailable);
  const Status away = daemon->append(*id, "y").status();
  EXPECT_EQ(away.code(), StatusCode::unavailable);
  EXPECT_NE(away.message().find("tried for 0.1 s"), std::string::npos) << away.message();
  FilesRig late(options);  // one that starts meanwhile
  EXPECT_EQ(late->get(file->id, "t").status().code(), StatusCode::unavailable);
  ASSERT_EQ(std::system(control("start").c_str()), 0);
  EXPECT_TRUE(eventually([&] { return daemon->get(file->id, "t").ok(); }));
  EXPECT_TRUE(eventually([&] { return late->get(file->id, "t").ok(); }));
}

TEST(PostgresFiles, a_schema_that_it_does_not_know_is_refused_whenever_it_is_seen) {
  TestDatabase database;
  const std::string numbers = "needs " + std::to_string(embedded_migrations().back().version);
  PostgresOptions options = quiet_options(database.dsn());
  options.verb_limit = milliseconds(100);
  ASSERT_EQ(std::system(control("stop -m fast").c_str()), 0);
  FilesRig early(options);
  ASSERT_EQ(std::system(control("start").c_str()), 0);
  ASSERT_TRUE(Migrator(database.dsn()).down(14).ok());
  ASSERT_TRUE(eventually([&] { return early->list().status().code() != StatusCode::unavailable; }));
  for (int i = 0; i < 2; ++i) {
    const Status refused = early->list().status();
    EXPECT_EQ(refused.code(), StatusCode::conflict) << refused.to_string();
    EXPECT_NE(refused.message().find(numbers), std::string::npos) << refused.message();
  }
  EXPECT_EQ(open_postgres_files(options, {}).status().code(), StatusCode::conflict);
  ASSERT_TRUE(Migrator(database.dsn()).up(0).ok());
  EXPECT_TRUE(early->list().ok());
}

// --- commits that are not answered

class CutFiles : public PostgresFilesTest, public testing::WithParamInterface<Proxy::Cut> {
 protected:
  void SetUp() override {
    PostgresOptions options = quiet_options(proxy_.dsn(database_.name()));
    options.verb_limit = seconds(20);
    FileLimits limits;
    limits.tenant_uploads_max = 1;
    limits.tenant_bytes_max = 2 * kPiece;
    daemon_.emplace(options, limits);
  }
  // The next request of this name is cut, once.
  void cut(const char* request) {
    n_cut_ = proxy_.n_cut();
    proxy_.cut(request, GetParam(), 1);
  }
  void expect_cut() { EXPECT_EQ(proxy_.n_cut(), n_cut_ + 1); }

  Proxy proxy_{std::string(std::getenv("PGHOST")) + "/.s.PGSQL.5432"};
  std::optional<FilesRig> daemon_;
  int n_cut_ = 0;
};

// At limits that leave no room for anything that is done twice.
TEST_P(CutFiles, every_step_of_an_upload_is_done_once) {
  FileDriver& driver = *daemon_->driver;
  const std::string bytes = file_bytes(2 * kFilePieceBytes, 3);
  cut("begin_upload");
  const auto id = driver.begin("t");
  ASSERT_TRUE(id.ok()) << id.status().to_string();
  expect_cut();
  EXPECT_EQ(n_rows("files"), 1);
  for (const int64_t n : {0, 1}) {
    cut("append_piece");
    const auto added =
        driver.append(*id, bytes.substr(static_cast<size_t>(n) * kFilePieceBytes, kFilePieceBytes));
    ASSERT_TRUE(added.ok()) << added.status().to_string();
    expect_cut();
    EXPECT_EQ(*added, (n + 1) * kPiece);
    EXPECT_EQ(database_.number("SELECT bytes FROM parkd.files"), (n + 1) * kPiece);
    EXPECT_EQ(n_rows("file_pieces"), n + 1);
  }
  cut("finish_upload");
  const auto file = driver.finish(*id, kSpec);
  ASSERT_TRUE(file.ok()) << file.status().to_string();
  expect_cut();
  EXPECT_EQ(driver.get(*id, "t").value(), *file);
  EXPECT_EQ(driver.read(*id, "t").value(), bytes);
  EXPECT_EQ(driver.figures()->uploads, 0);
}

TEST_P(CutFiles, a_file_is_kept_though_the_answer_is_lost) {
  FileDriver& driver = *daemon_->driver;
  const auto file = driver.upload("t", "x");
  ASSERT_TRUE(file.ok());
  const WallTime until = file->expires_at + std::chrono::hours(1);
  cut("keep_file");
  const auto kept = driver.keep(file->id, "t", until);
  expect_cut();
  ASSERT_TRUE(kept.ok()) << kept.status().to_string();
  EXPECT_EQ(kept->expires_at, until);
}

TEST_P(CutFiles, a_removal_answers_the_file_once) {
  FileDriver& driver = *daemon_->driver;
  const auto file = driver.upload("t", "x");
  ASSERT_TRUE(file.ok());
  cut("remove_file");
  const auto removed = driver.remove(file->id, "t");
  expect_cut();
  ASSERT_TRUE(removed.ok()) << removed.status().to_string();
  EXPECT_EQ(*removed, *file);
  EXPECT_EQ(driver.remove(file->id, "t").status().code(), StatusCode::not_found);
}

TEST_P(CutFiles, an_abandoned_upload_is_gone_and_a_purge_deletes_what_there_is) {
  FileDriver& driver = *daemon_->driver;
  const auto id = driver.begin("t");
  ASSERT_TRUE(id.ok());
  ASSERT_TRUE(driver.append(*id, "x").ok());
  cut("abandon_upload");
  daemon_->store->abandon_upload(*id);
  EXPECT_EQ(driver.figures()->uploads, 0);
  expect_cut();
  cut("purge_files");
  EXPECT_TRUE(driver.purge().ok());
  expect_cut();
  // What nobody waits for any more may hold the rows, so that the same again passes them over.
  EXPECT_TRUE(eventually([&] { return n_rows("files") + n_rows("file_pieces") == 0; }));
}

std::string name_of_cut(const testing::TestParamInfo<Proxy::Cut>& info) {
  constexpr const char* kNames[] = {"unsent", "in_flight", "unanswered"};
  return kNames[static_cast<int>(info.param)];
}

INSTANTIATE_TEST_SUITE_P(cuts, CutFiles,
                         testing::Values(Proxy::Cut::unsent, Proxy::Cut::in_flight,
                                         Proxy::Cut::unanswered),
                         name_of_cut);

// --- who may see what

class FileRoles : public PostgresFilesTest {
 protected:
  void SetUp() override {
    database_.run(
        "DO $$ BEGIN CREATE ROLE ann LOGIN IN ROLE parkd_submitter; CREATE ROLE ben LOGIN IN ROLE "
        "parkd_submitter; CREATE ROLE rea LOGIN IN ROLE parkd_reader; CREATE ROLE dan LOGIN IN "
        "ROLE parkd_daemon; CREATE ROLE mia LOGIN IN ROLE parkd_monitor; CREATE ROLE stranger "
        "LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$");
    database_.run("INSERT INTO parkd.tenant_logins VALUES ('rea', 'ann') ON CONFLICT DO NOTHING");
  }
  std::string value(const std::string& login, const std::string& sql) {
    const auto session = database_.connect(login);
    pqxx::nontransaction tx(*session);
    const pqxx::result rows = tx.exec(sql);
    return rows.empty() || rows[0][0].is_null() ? "" : rows[0][0].c_str();
  }
  bool is_denied(const std::string& login, const std::string& sql) {
    const auto session = database_.connect(login);
    return refusal(*session, sql).find("permission denied") != std::string::npos;
  }
};

TEST_F(FileRoles, a_daemon_needs_no_more_than_its_role_and_others_see_their_own_alone) {
  FilesRig daemon(quiet_options(database_.dsn_as("dan")));
  const auto of_ann = daemon->upload("ann", std::string(kFilePieceBytes + 1, 'x'));
  const auto of_ben = daemon->upload("ben", "y");
  const auto over = daemon->upload("ann", "z");
  ASSERT_TRUE(of_ann.ok() && of_ben.ok() && over.ok());
  database_.run("UPDATE parkd.files SET expires_at = now() WHERE id = " + quoted(over->id));
  const auto begun = daemon->begin("ann");
  ASSERT_TRUE(begun.ok());
  ASSERT_TRUE(daemon->append(*begun, "w").ok());
  EXPECT_EQ(daemon->read(of_ann->id).value().size(), kFilePieceBytes + 1);

  const std::string ids = "SELECT string_agg(id, ',') FROM parkd.files";
  EXPECT_EQ(value("ann", ids), of_ann->id) << "neither an upload nor what is over";
  EXPECT_EQ(value("rea", ids), of_ann->id);
  EXPECT_EQ(value("ben", ids), of_ben->id);
  const std::string usage =
      "SELECT string_agg(concat_ws(' ', tenant, files, bytes, uploads, upload_bytes), ',' ORDER "
      "BY tenant) FROM parkd.file_usage";
  const std::string anns = "ann 1 1048577 1 1";
  EXPECT_EQ(value("ann", usage), anns);
  EXPECT_EQ(value("ben", usage), "ben 1 1 0 0");
  EXPECT_EQ(value("mia", usage), anns + ",ben 1 1 0 0") << "numbers are a monitor's";
  EXPECT_TRUE(is_denied("mia", ids)) << "names are not";
  EXPECT_TRUE(is_denied("stranger", ids));
  EXPECT_TRUE(is_denied("stranger", usage));

  for (const char* login : {"ann", "rea", "dan", "mia"}) {
    EXPECT_TRUE(is_denied(login, "SELECT n FROM parkd.file_pieces")) << login;
    EXPECT_TRUE(is_denied(login, "DELETE FROM parkd.file_pieces")) << login;
    EXPECT_TRUE(is_denied(login, "DELETE FROM parkd.files")) << login;
    EXPECT_TRUE(is_denied(login, "UPDATE parkd.files SET tenant = 'ben'")) << login;
    EXPECT_TRUE(is_denied(login, "INSERT INTO parkd.files (id) VALUES ('x')")) << login;
  }
  for (const char* call :
       {"tenant_files_v1('ben', '')", "begin_upload_v1('x', 'ben', '1 h')",
        "append_piece_v1('x', 0, 0, 0, '')", "finish_upload_v1('x', 0, 'x', 'batch', '1 h')",
        "abandon_upload_v1('x')", "read_piece_v1('x', '', 0)",
        "list_files_v1('ben', '', '', true, 1)", "remove_file_v1('x', '')",
        "keep_file_v1('x', '', now())", "purge_files_v1(1, '{}', '1 minute', now())"}) {
    EXPECT_TRUE(is_denied("ann", std::string("SELECT parkd.") + call)) << call;
  }
}

}  // namespace
}  // namespace parkd
