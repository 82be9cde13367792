// Salvage: whatever of a store's files is damaged, the fresh store opens, passes verify, holds
// every row that could be read byte by byte and nothing that was never committed; and what is gone
// is on the list. The old store is not touched. PARKD_LONG=1: thousands of rounds.
#include <gtest/gtest.h>
#include <rocksdb/write_batch.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <set>

#include "lib/base/xxh3.h"
#include "lib/store/rocksdb/database.h"
#include "lib/store/rocksdb/log_check.h"
#include "lib/store/rocksdb/raw_rows.h"
#include "lib/store/rocksdb/rocksdb_store.h"
#include "lib/store/rocksdb/salvage.h"
#include "lib/store/rocksdb/salvage_facts.h"
#include "tests/store/store_on_disk.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

namespace fs = std::filesystem;
using Random = std::mt19937_64;
constexpr uint64_t kLeapForTest = uint64_t{1} << 32;

std::string read_bytes(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void write_bytes(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// Names and contents.
std::map<std::string, std::string> bytes_of(const std::string& dir) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::directory_iterator(dir)) {
    files[entry.path().filename().string()] = read_bytes(entry.path());
  }
  return files;
}

// The rows of a store, read from its files.
struct Rows {
  using Key = std::pair<SalvagedKind, std::string>;
  std::map<Key, std::string> now;             // the newest versions
  std::map<Key, std::set<std::string>> ever;  // all versions
  std::map<Key, std::string> family;
};

Rows rows_of(const std::string& dir) {
  Rows rows;
  std::map<Rows::Key, std::pair<uint64_t, std::optional<std::string>>> newest;
  auto raw = wal::RawRows::open(dir);
  EXPECT_TRUE(raw.ok());
  EXPECT_TRUE(raw->visit([&](const wal::RawRow& row) {
                   const Rows::Key key{kind_of(row), std::string(row.key)};
                   if (key.first == SalvagedKind::none) return;
                   auto& version = newest[key];
                   if (row.is_put) rows.ever[key].insert(std::string(row.value));
                   rows.family[key] = row.family;
                   if (row.sequence < version.first) return;
                   version.first = row.sequence;
                   version.second.reset();
                   if (row.is_put) version.second = std::string(row.value);
                 })
                  .ok());
  for (const auto& [key, version] : newest) {
    if (version.second) rows.now[key] = *version.second;
  }
  return rows;
}

// The findings, and what they cover.
struct Listed {
  std::vector<SalvageFinding> findings;

  bool covers_job(JobId id) const {
    return any([&](const SalvageFinding& at) {
      return at.id == id ||
             (at.what == "ids_without_trace" && at.first_id <= id && id <= at.last_id.value_or(id));
    });
  }
  bool covers_result(JobId id, uint64_t sequence) const {
    return any([&](const SalvageFinding& at) {
      return (at.what == "result_gone" && at.id == id) ||
             (at.what == "may_run_again" && at.id == id) ||
             (at.what == "results_without_trace" && at.first_sequence <= sequence &&
              sequence <= at.last_sequence.value_or(sequence));
    });
  }
  bool names(const std::string& what, JobId id) const {
    return any([&](const SalvageFinding& at) { return at.what == what && at.id == id; });
  }
  int64_t count(const std::string& what) const {
    return std::count_if(findings.begin(), findings.end(),
                         [&](const SalvageFinding& at) { return at.what == what; });
  }
  template <class Is>
  bool any(Is is) const {
    return std::any_of(findings.begin(), findings.end(), is);
  }
};

class SalvageTest : public testing::Test, protected StoreOnDisk {
 protected:
  void TearDown() override { close(); }
  std::string dir() const { return temp_.path() + "/queue"; }
  std::string broken_dir() const { return temp_.path() + "/broken"; }
  std::string fresh_dir() const { return temp_.path() + "/fresh"; }

  Status open(const std::string& dir) { return open_store(dir, clock_); }
  static void copy_files(const std::string& from, const std::string& to) {
    fs::remove_all(to);
    fs::copy(from, to);
  }

  JobSpec random_spec(Random& random, int n) {
    JobSpec spec;
    spec.model = "m";
    spec.tenant = random() % 3 == 0 ? "a" : "default";
    spec.mailbox_key = "box" + std::to_string(random() % 6);
    spec.custom_id = std::to_string(n);
    spec.body = std::string(50 + random() % (random() % 20 == 0 ? 60'000 : 1500), ' ');
    for (char& byte : spec.body) byte = static_cast<char>('a' + random() % 26);
    const std::chrono::seconds retentions[] = {std::chrono::hours(2), std::chrono::hours(30),
                                               std::chrono::hours(24 * 20)};
    spec.retention = retentions[random() % 3];
    if (random() % 3 == 0) spec.idempotency_key = "key" + std::to_string(n);
    if (random() % 8 == 0) spec.run_at = clock_.now() + std::chrono::hours(1);
    return spec;
  }
  // Jobs in all states, batches, keys, several periods.
  void work(Random& random, int n_jobs) {
    for (int i = 0; i < n_jobs; ++i) {
      JobSpec spec = random_spec(random, n_submitted_++);
      if (random() % 12 == 0) {
        BatchSpec batch;
        batch.tenant = spec.tenant;
        batch.name = "b" + std::to_string(i);
        batches_.emplace_back(driver_->open_batch(batch)->batch.id, spec.tenant);
      }
      if (!batches_.empty() && random() % 3 == 0) {
        spec.batch_id = batches_.back().first;
        spec.tenant = batches_.back().second;
        spec.run_at.reset();
      }
      const auto submitted = driver_->submit({spec});
      if (!submitted.ok()) continue;  // its batch is sealed
      last_id_ = std::max(last_id_, submitted->at(0).id);
      const uint64_t act = random() % 10;
      if (act == 0) (void)driver_->cancel(submitted->at(0).id, "");
      if (act == 1 && !batches_.empty()) {
        (void)driver_->seal_batch(batches_[random() % batches_.size()].first, "");
      }
      if (act == 2) (void)driver_->requeue({"", {}, {}, "", 1});
      if (act < 3) continue;
      const auto jobs = driver_->claim("m", act < 6 ? 1 : 0);
      for (const Job& job : *jobs) end(random, job);
    }
    for (int box = 0; box < 6; ++box) {
      const std::string key = "box" + std::to_string(box);
      const auto page = driver_->fetch({"default", key, 0, 3});
      for (const Message& message : page->messages) {
        if (random() % 3 == 0) (void)driver_->take("default", key, {message.sequence});
      }
    }
    last_sequence_ = std::max(last_sequence_, newest_sequence());
  }
  void end(Random& random, const Job& job) {
    if (random() % 5 == 0) {
      (void)driver_->release({{job.id, job.lease, true, std::nullopt}});
      return;
    }
    Ending ending;
    ending.body = std::string(random() % 3000, 'r');
    if (random() % 4 == 0) {
      ending.outcome = Outcome::failed;
      ending.error_code = "internal";
      ending.status_code = 500;
    }
    (void)driver_->finish({{job.id, job.lease, ending}});
  }
  uint64_t newest_sequence() {
    uint64_t newest = 0;
    for (const char* tenant : {"default", "a"}) {
      for (int box = 0; box < 6; ++box) {
        const auto page = driver_->fetch({tenant, "box" + std::to_string(box), 0, 10'000});
        for (const Message& message : page->messages) newest = std::max(newest, message.sequence);
      }
    }
    return newest;
  }
  // A store whose work lies in logs and tables, closed.
  void build(Random& random, int n_jobs) {
    for (int part = 0; part < 3; ++part) {
      ASSERT_TRUE(open(dir()).ok());  // what was there is in tables now
      work(random, n_jobs / 3);
    }
    close();
  }
  Result<SalvageSummary> salvage_to_fresh(const std::string& from) {
    fs::remove_all(fresh_dir());
    listed_ = {};
    auto store = OfflineStore::open(from);
    if (!store.ok()) return store.status();
    return salvage(*store, fresh_dir(), clock_,
                   [this](const SalvageFinding& at) { listed_.findings.push_back(at); });
  }

  // One random damage; gives what it was.
  std::string damage(Random& random, const std::string& dir) {
    std::vector<fs::path> tables, logs;
    fs::path manifest;
    for (const auto& entry : fs::directory_iterator(dir)) {
      const std::string name = entry.path().filename().string();
      if (name.ends_with(".sst")) tables.push_back(entry.path());
      if (name.ends_with(".log") && entry.file_size() > 0) logs.push_back(entry.path());
      if (name.starts_with("MANIFEST")) manifest = entry.path();
    }
    std::sort(tables.begin(), tables.end());
    std::sort(logs.begin(), logs.end());
    const bool in_log = random() % 2 == 0 && !logs.empty();
    const std::vector<fs::path>& among = in_log ? logs : tables;
    if (among.empty()) return "nothing";
    const fs::path path = among.at(random() % among.size());
    const std::string name = path.filename().string();
    std::string bytes = read_bytes(path);
    std::string edits = manifest.empty() ? "" : read_bytes(manifest);
    if (bytes.empty() || edits.empty()) return "nothing";  // it went with an earlier damage
    switch (random() % 12) {
      case 0:
        fs::remove(path);
        return "removed " + name;
      case 1:
        write_bytes(path, bytes.substr(0, random() % bytes.size()));
        return "cut " + name;
      case 2:
      case 3: {
        const size_t at = random() % bytes.size();
        const size_t n = std::min<size_t>(4096, bytes.size() - at);
        bytes.replace(at, n, std::string(n, '\0'));
        write_bytes(path, bytes);
        return "zeros in " + name + " at " + std::to_string(at);
      }
      case 4:
        fs::remove(fs::path(dir) / "CURRENT");
        return "removed CURRENT";
      case 5: {
        const size_t at = random() % edits.size();
        edits[at] = static_cast<char>(edits[at] ^ 4);
        write_bytes(manifest, edits);
        return "a flip in MANIFEST at " + std::to_string(at);
      }
      case 6:
        fs::remove(manifest);
        return "removed MANIFEST";
      default: {
        const size_t at = random() % bytes.size();
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << random() % 8));
        write_bytes(path, bytes);
        return "a flip in " + name + " at " + std::to_string(at);
      }
    }
  }

  // --- what must hold of the fresh store; `before` is the store that was whole
  void expect_nothing_invented(const Rows& before, const Rows& after) {
    for (const auto& [key, value] : after.now) {
      const auto known = before.ever.find(key);
      if (known != before.ever.end() && known->second.contains(value)) continue;
      if (key.first == SalvagedKind::meta || key.first == SalvagedKind::batch) continue;
      if (key.first == SalvagedKind::idempotency) {
        const record::StoredKey now = *record::decode_key(value);
        EXPECT_TRUE(listed_.names("job_failed", now.id) || known != before.ever.end());
        continue;
      }
      JobId id = 0;
      if (key.first == SalvagedKind::history) id = *record::decode_id_key(key.second);
      if (key.first == SalvagedKind::message) id = record::decode_message(value)->job_id;
      const bool is_derived = listed_.names("job_failed", id) || known != before.ever.end();
      EXPECT_TRUE(is_derived) << "kind " << static_cast<int>(key.first) << " id " << id;
    }
  }
  bool is_damaged(const std::string& family_prefix) const {
    return listed_.any([&](const SalvageFinding& at) {
      return at.what == "damage" && (at.family.starts_with(family_prefix) || at.family.empty());
    });
  }
  void expect_lost_is_listed(const Rows& before, const Rows& after) {
    for (const auto& [key, value] : before.now) {
      if (after.now.contains(key)) continue;
      if (key.first == SalvagedKind::job || key.first == SalvagedKind::body) {
        const JobId id = *record::decode_id_key(key.second);
        EXPECT_TRUE(listed_.covers_job(id)) << "job " << id;
      } else if (key.first == SalvagedKind::message) {
        const Message message = *record::decode_message(value);
        EXPECT_TRUE(listed_.covers_result(message.job_id, message.sequence))
            << "message " << message.sequence << " of job " << message.job_id;
      } else if (key.first == SalvagedKind::history) {
        const record::StoredHistory history = *record::decode_history(value);
        EXPECT_TRUE(listed_.covers_result(history.row.job_id, history.sequence) ||
                    listed_.covers_job(history.row.job_id))
            << "history of " << history.row.job_id;
      } else if (key.first == SalvagedKind::idempotency) {
        EXPECT_TRUE(is_damaged("idempotency") || listed_.covers_job(record::decode_key(value)->id));
      } else if (key.first == SalvagedKind::batch) {
        EXPECT_TRUE(is_damaged("batches"));
      } else if (key.first == SalvagedKind::request) {
        EXPECT_TRUE(is_damaged("box_"));
      }
    }
    for (const auto& [key, value] : after.now) {
      if (key.first != SalvagedKind::job || before.now.contains(key)) continue;
      const JobId id = *record::decode_id_key(key.second);
      EXPECT_TRUE(listed_.names("may_run_again", id)) << id << " had ended";
    }
  }
  // Any row that is left of a job's end, also an older version or a tombstone, keeps it from
  // running.
  void expect_no_ended_job_runs(const Rows& after) {
    auto raw = wal::RawRows::open(broken_dir());
    ASSERT_TRUE(raw.ok());
    ASSERT_TRUE(raw->visit([&](const wal::RawRow& row) {
                     const SalvagedKind kind = kind_of(row);
                     const bool ends =
                         kind == SalvagedKind::history ||
                         (!row.is_put && (kind == SalvagedKind::job || kind == SalvagedKind::body));
                     const Rows::Key job{SalvagedKind::job, std::string(row.key)};
                     EXPECT_FALSE(ends && after.now.contains(job)) << "a job that ended would run";
                   })
                    .ok());
  }
  // It opens, gives out no number twice, and what waits runs: no batch waits for ever.
  void expect_it_works(const Rows& after) {
    std::map<std::string, int64_t> n_live;
    for (const auto& [key, value] : after.now) {
      if (key.first != SalvagedKind::job) continue;
      EXPECT_TRUE(after.now.contains({SalvagedKind::body, key.second})) << "a job without request";
      ++n_live[record::decode_job(value)->job.spec.batch_id];
    }
    for (const auto& [key, value] : after.now) {
      if (key.first != SalvagedKind::batch) continue;
      const Batch batch = record::decode_batch(value)->batch;
      EXPECT_EQ(batch.unfinished(), n_live[batch.id]) << batch.id;
      EXPECT_EQ(batch.finished_at.has_value(), batch.sealed_at && n_live[batch.id] == 0);
    }
    const Status opened = open(fresh_dir());
    ASSERT_TRUE(opened.ok()) << opened.to_string();
    EXPECT_GT(driver_->stats()->open_epoch, kLeapForTest);
    ASSERT_EQ(driver_->stats()->notices.size(), 1u);
    EXPECT_EQ(driver_->stats()->notices[0].code, "store_loss_accepted");
    const auto submitted = driver_->submit({spec_named("new")});
    EXPECT_GT(submitted->at(0).id, last_id_ + kLeapForTest / 2);
    const auto jobs = driver_->claim("m", 100'000);
    ASSERT_TRUE(jobs.ok());
    std::vector<FinishItem> items;
    for (const Job& job : *jobs) items.push_back({job.id, job.lease, {}});
    const auto answers = driver_->finish(items);
    ASSERT_TRUE(answers.ok()) << answers.status().to_string();
    for (const FinishAnswer answer : *answers) EXPECT_EQ(answer, FinishAnswer::finished_now);
    const auto box = driver_->fetch({"default", "new", 0, 10});
    ASSERT_EQ(box->messages.size(), 1u);
    EXPECT_GT(box->messages[0].sequence, last_sequence_ + kLeapForTest / 2);
    close();
  }
  static JobSpec spec_named(const std::string& mailbox_key) {
    JobSpec spec;
    spec.model = "m";
    spec.mailbox_key = mailbox_key;
    spec.body = "x";
    return spec;
  }

  TempDir temp_;
  ManualClock clock_{from_unix_us(int64_t{1'790'000'000} * 1'000'000)};
  std::vector<std::pair<std::string, std::string>> batches_;  // id, tenant
  int n_submitted_ = 0;
  JobId last_id_ = 0;
  uint64_t last_sequence_ = 0;
  Listed listed_;
};

TEST(Xxh3Test, it_is_the_published_hash) {
  const std::pair<size_t, uint64_t> known[] = {
      {0, 0x2d06800538d394c2},    {1, 0xe12ef9d2eb86ceeb},    {5, 0x7b9ebb96e74cf5a8},
      {12, 0x88fb0a593142536c},   {40, 0xe819c54d0558b405},   {128, 0xc4399c7829d0628f},
      {200, 0x70d27115faab301e},  {240, 0x3c0bb96864e543a1},  {241, 0xbff7215089202d8f},
      {1024, 0xac8e32e4ea3ba062}, {1025, 0xc856c953bbdbc807}, {5000, 0x882162ebfafc2c3f}};
  for (const auto& [n_bytes, hash] : known) {
    std::string bytes(n_bytes, '\0');
    for (size_t i = 0; i < n_bytes; ++i) bytes[i] = static_cast<char>(i * 7 + 1);
    EXPECT_EQ(xxh3_64(bytes), hash) << n_bytes;
  }
}

TEST(SalvageFactsTest, any_row_of_its_end_keeps_a_job_from_running_again) {
  record::StoredJob stored;
  stored.job.id = 7;
  const std::string id = record::id_key(7);
  const std::string job = record::encode(stored);
  Message message;
  message.job_id = 7;
  message.sequence = 3;
  const std::string message_key = record::message_key("", "", 3);
  record::StoredHistory history;
  history.row.job_id = 7;
  const std::string message_bytes = record::encode(message);
  const std::string history_bytes = record::encode(history);
  const wal::RawRow ends[] = {{"history", id, history_bytes, 9, true},
                              {"history", id, "", 12, false},
                              {"bodies", id, "", 9, false},
                              {"jobs", id, "", 9, false},
                              {"box_h489000", message_key, message_bytes, 9, true}};
  for (size_t i = 0; i <= std::size(ends); ++i) {
    SalvageFacts facts;
    if (i < std::size(ends)) facts.note(ends[i]);
    facts.note({"jobs", id, job, 5, true});
    facts.settle();
    EXPECT_EQ(facts.is_live(7), i == std::size(ends)) << i;
  }
}

TEST_F(SalvageTest, of_a_whole_store_the_fresh_one_is_the_same) {
  const uint64_t seed = std::random_device()();
  std::cout << "seed " << seed << std::endl;
  Random random(seed);
  build(random, 240);
  const Rows before = rows_of(dir());
  const auto files = bytes_of(dir());
  const auto summary = salvage_to_fresh(dir());
  ASSERT_TRUE(summary.ok()) << summary.status().to_string();
  EXPECT_EQ(bytes_of(dir()), files) << "the old store is not written to";
  EXPECT_TRUE(summary->is_whole());
  for (const SalvageFinding& at : listed_.findings) ADD_FAILURE() << at.what << ": " << at.text;
  Rows after = rows_of(fresh_dir());
  for (const auto& [key, value] : before.now) {
    if (key.first == SalvagedKind::meta && key.second != "uuid") continue;
    ASSERT_TRUE(after.now.contains(key)) << static_cast<int>(key.first);
    EXPECT_EQ(after.now[key], value) << static_cast<int>(key.first);
    EXPECT_EQ(after.family[key], before.family.at(key));
  }
  for (const auto& [key, value] : after.now) {
    EXPECT_TRUE(key.first == SalvagedKind::meta || before.now.contains(key));
  }
  EXPECT_GT(summary->n_jobs, 10);
  EXPECT_GT(summary->n_messages, 10);
  EXPECT_GT(summary->n_keys, 10);
  EXPECT_GT(summary->n_batches, 2);
  ASSERT_TRUE(open(dir()).ok());
  const auto old_messages = driver_->stats()->messages;
  const auto old_batches = driver_->list_batches({});
  ASSERT_TRUE(open(fresh_dir()).ok());
  EXPECT_EQ(driver_->stats()->messages, old_messages);
  EXPECT_EQ(driver_->list_batches({})->size(), old_batches->size());
  EXPECT_TRUE(driver_->stats()->notices.empty()) << "nothing is lost";
}

TEST_F(SalvageTest, what_it_makes_is_private_and_needs_an_empty_place) {
  Random random(5);
  build(random, 30);
  const mode_t before = ::umask(0);
  const auto summary = salvage_to_fresh(dir());
  ::umask(before);
  ASSERT_TRUE(summary.ok());
  struct stat file {};
  ASSERT_EQ(::stat(fresh_dir().c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 07777u, 0700u);
  for (const auto& entry : fs::directory_iterator(fresh_dir())) {
    ASSERT_EQ(::stat(entry.path().c_str(), &file), 0);
    EXPECT_EQ(file.st_mode & 077u, 0u) << entry.path();
  }
  const auto store = OfflineStore::open(dir());
  const auto list = [](const SalvageFinding&) {};
  EXPECT_EQ(salvage(*store, fresh_dir(), clock_, list).status().code(), StatusCode::invalid);
  EXPECT_EQ(salvage(*store, dir() + "/in", clock_, list).status().code(), StatusCode::invalid);
  fs::create_directory(temp_.path() + "/other.unfinished");
  EXPECT_EQ(salvage(*store, temp_.path() + "/other", clock_, list).status().code(),
            StatusCode::conflict);
}

// Rows of a later program would be left out as damage, and the rest stamped as this one's.
TEST_F(SalvageTest, a_store_of_another_format_is_refused_by_its_number) {
  Random random(7);
  build(random, 30);
  const auto refuse_both = [&](uint64_t format) {
    {
      RocksDbStoreOptions options;
      options.dir = dir();
      auto database = Database::open(options, {});
      ASSERT_TRUE(database.ok()) << database.status().to_string();
      rocksdb::WriteBatch batch;
      (void)batch.Put((*database)->meta(), meta_key::kFormat, record::encode_count(format));
      ASSERT_TRUE((*database)->write(&batch).ok());
    }
    const auto files = bytes_of(dir());
    const std::string numbers = "has format " + std::to_string(format) + "; this program knows 1";
    const auto salvaged = salvage_to_fresh(dir());
    EXPECT_EQ(salvaged.status().code(), StatusCode::corrupt);
    EXPECT_NE(salvaged.status().message().find(numbers), std::string::npos)
        << salvaged.status().message();
    EXPECT_FALSE(fs::exists(fresh_dir()));
    EXPECT_FALSE(fs::exists(fresh_dir() + ".unfinished"));
    EXPECT_TRUE(listed_.findings.empty());
    const auto store = OfflineStore::open(dir());
    const auto verified = store->verify();
    EXPECT_EQ(verified.status().code(), StatusCode::corrupt);
    EXPECT_NE(verified.status().message().find(numbers), std::string::npos)
        << verified.status().message();
    EXPECT_EQ(bytes_of(dir()), files) << "it was written to";
  };
  for (const uint64_t format : {uint64_t{2}, uint64_t{0}}) refuse_both(format);
}

TEST_F(SalvageTest, the_fresh_store_takes_the_place_and_the_old_one_is_kept) {
  Random random(6);
  build(random, 30);
  const auto files = bytes_of(dir());
  ASSERT_TRUE(salvage_to_fresh(dir()).ok());
  const auto kept = put_in_place(dir(), fresh_dir(), clock_);
  ASSERT_TRUE(kept.ok()) << kept.status().to_string();
  EXPECT_TRUE(kept->starts_with(dir() + ".damaged-20260921T")) << *kept;
  EXPECT_EQ(bytes_of(*kept), files);
  EXPECT_FALSE(fs::exists(fresh_dir()));
  ASSERT_TRUE(open(dir()).ok());
  EXPECT_GT(driver_->stats()->open_epoch, kLeapForTest);
}

TEST_F(SalvageTest, whatever_is_damaged_the_rest_is_there_and_what_is_gone_is_listed) {
  const bool is_long = std::getenv("PARKD_LONG") != nullptr;
  const char* given = std::getenv("PARKD_SEED");
  const uint64_t seed =
      given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  std::cout << "seed " << seed << std::endl;
  Random random(seed);
  build(random, 150);
  Rows before = rows_of(dir());
  {
    // Rows of files that the store had done with count as committed, too.
    copy_files(dir(), broken_dir());
    fs::remove(fs::path(broken_dir()) / "CURRENT");
    for (auto& [key, values] : rows_of(broken_dir()).ever) before.ever[key].merge(values);
  }
  int64_t n_gone = 0, n_failed = 0, n_again = 0;
  for (int round = 0; round < (is_long ? 1000 : 12) && !HasFailure(); ++round) {
    copy_files(dir(), broken_dir());
    std::string what;
    const uint64_t n_damages = 1 + random() % 3;
    for (uint64_t i = 0; i < n_damages; ++i) what += damage(random, broken_dir()) + "; ";
    SCOPED_TRACE("round " + std::to_string(round) + ": " + what);
    const auto files = bytes_of(broken_dir());
    const auto summary = salvage_to_fresh(broken_dir());
    ASSERT_TRUE(summary.ok()) << summary.status().to_string();
    EXPECT_TRUE(bytes_of(broken_dir()) == files) << "the old store is not written to";
    if (summary->is_whole()) continue;  // it hit bytes that mean nothing
    const Rows after = rows_of(fresh_dir());
    expect_nothing_invented(before, after);
    expect_lost_is_listed(before, after);
    expect_no_ended_job_runs(after);
    expect_it_works(after);
    n_gone += listed_.count("job_gone");
    n_failed += listed_.count("job_failed");
    n_again += listed_.count("may_run_again");
  }
  std::cout << "gone " << n_gone << ", failed " << n_failed << ", may run again " << n_again
            << std::endl;
}

}  // namespace
}  // namespace parkd
