// The kill loop on the embedded store: one daemon, killed again and again under everything that
// clients do.
#include <gtest/gtest.h>
#include <rocksdb/db.h>
#include <signal.h>
#include <sys/wait.h>

#include <filesystem>
#include <set>

#include "tests/crash/kills_world.h"
#include "tests/e2e/child_process.h"

namespace parkd::testing {
namespace {

namespace fs = std::filesystem;

DaemonSetup small_daemon() {
  DaemonSetup setup;
  setup.max_num_seqs = 4;
  setup.worker_threads = 2;
  setup.kv_units = 64;
  setup.drain_timeout_s = 30;
  return setup;
}

void stop(DaemonProcess& daemon) {
  daemon.signal(SIGTERM);
  const auto end = daemon.wait_for_end(std::chrono::seconds(120));
  EXPECT_TRUE(end && WIFEXITED(*end) && WEXITSTATUS(*end) == 0) << "no clean stop";
}

// What a store of nothing but ended jobs has on disk.
void look_for_leaks(const std::string& dir, KillWorld& world) {
  Account& account = world.account();
  const JobctlResult verified = run_jobctl({"store", "verify", dir});
  EXPECT_EQ(verified.exit_code, 0) << verified.out << verified.err;
  const std::string store = dir + "/queue";
  std::vector<std::string> names;
  ASSERT_TRUE(rocksdb::DB::ListColumnFamilies({}, store, &names).ok()) << store;
  std::vector<rocksdb::ColumnFamilyDescriptor> families;
  for (const std::string& name : names) families.emplace_back(name, rocksdb::ColumnFamilyOptions());
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  rocksdb::DB* db = nullptr;
  const auto opened = rocksdb::DB::OpenForReadOnly({}, store, families, &handles, &db);
  ASSERT_TRUE(opened.ok()) << opened.ToString();
  std::map<std::string, int64_t> rows;
  for (size_t i = 0; i < names.size(); ++i) {
    const std::unique_ptr<rocksdb::Iterator> at(db->NewIterator({}, handles[i]));
    for (at->SeekToFirst(); at->Valid(); at->Next()) ++rows[names[i]];
    EXPECT_TRUE(at->status().ok());
  }
  for (const char* family : {"jobs", "bodies", "outbox"}) {
    if (rows[family] == 0) continue;
    account.found(Fault::leaked, std::to_string(rows[family]) + " rows in " + family);
  }
  if (rows["history"] != account.n_ended()) {
    account.found(Fault::leaked, std::to_string(rows["history"]) + " rows of history for " +
                                     std::to_string(account.n_ended()) + " ended jobs");
  }
  std::vector<rocksdb::LiveFileMetaData> live;
  db->GetLiveFilesMetaData(&live);
  std::set<std::string> known;
  for (const auto& file : live) known.insert(fs::path(file.name).filename().string());
  for (const auto& entry : fs::recursive_directory_iterator(dir)) {
    const fs::path& path = entry.path();
    const bool orphan = path.extension() == ".sst" && known.count(path.filename().string()) == 0;
    if (orphan || path.extension() == ".dbtmp" || path.extension() == ".tmp") {
      account.found(Fault::leaked, "the file " + path.string());
    }
  }
  for (auto* handle : handles) EXPECT_TRUE(db->DestroyColumnFamilyHandle(handle).ok());
  delete db;
}

TEST(Kills, the_embedded_store_loses_doubles_skips_and_leaks_nothing) {
  DaemonProcess daemon(small_daemon());
  ASSERT_TRUE(daemon.start()) << daemon.log();
  Clients::Options options;
  options.tenants = {"kill_a", "kill_b"};
  options.open_max = 60;
  KillWorld world({&daemon}, options);
  if (!world.run()) FAIL() << daemon.log().substr(0, 4000);
  stop(daemon);
  ASSERT_TRUE(daemon.start()) << "after an orderly stop";
  world.judge();
  stop(daemon);
  look_for_leaks(daemon.directory() + "/state", world);
  world.report("rocksdb");
}

}  // namespace
}  // namespace parkd::testing
