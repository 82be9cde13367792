// Damage of the embedded store's files: whatever bit flips and whatever file goes, acknowledged
// work is there, or the start is refused, or the verb that wants it says so. Never silence, and no
// id or sequence twice. PARKD_LONG=1 flips thousands of bits.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <map>
#include <memory>
#include <random>

#include "lib/store/rocksdb/log_check.h"
#include "lib/store/rocksdb/offline.h"
#include "lib/store/rocksdb/rocksdb_store.h"
#include "tests/store/store_on_disk.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

namespace fs = std::filesystem;

JobSpec spec_of(const std::string& key, size_t body_bytes) {
  JobSpec spec;
  spec.model = "m";
  spec.mailbox_key = key;
  spec.body = std::string(body_bytes, 'x');
  return spec;
}

std::string read_bytes(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void write_bytes(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

void flip(const fs::path& path, uint64_t bit) {
  std::string bytes = read_bytes(path);
  ASSERT_LT(bit / 8, bytes.size());
  bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
  write_bytes(path, bytes);
}

// What callers were told.
struct Told {
  std::map<std::string, JobId> submitted;    // mailbox key -> id
  std::map<std::string, uint64_t> finished;  // mailbox key -> sequence
  JobId last_id = 0;
  uint64_t last_sequence = 0;
};

class DamageTest : public testing::Test, protected StoreOnDisk {
 protected:
  void TearDown() override { close(); }
  std::string dir() const { return temp_.path() + "/queue"; }
  std::string copy_dir() const { return temp_.path() + "/copy"; }

  Status open(const std::string& dir) { return open_store(dir, clock_); }
  // Of a directory whose store may be deleting files of its own meanwhile: those that it no longer
  // needs.
  static void copy_files(const std::string& from, const std::string& to) {
    std::error_code error;
    do {
      while (fs::exists(to)) fs::remove_all(to, error);
      fs::copy(from, to, error);
    } while (error);
  }
  // What a kill -9 now would leave.
  void copy() { copy_files(dir(), copy_dir()); }
  void submit(const std::string& key, size_t body_bytes = 100) {
    const auto submitted = driver_->submit({spec_of(key, body_bytes)});
    ASSERT_TRUE(submitted.ok());
    told_.submitted[key] = submitted->at(0).id;
    told_.last_id = std::max(told_.last_id, submitted->at(0).id);
  }
  void finish_one() {
    const auto jobs = driver_->claim("m", 1);
    ASSERT_EQ(jobs->size(), 1u);
    const Job& job = jobs->at(0);
    Ending ending;
    ending.body = "of " + job.spec.mailbox_key;
    ASSERT_TRUE(driver_->finish({{job.id, job.lease, ending}}).ok());
    const auto box = driver_->fetch({"default", job.spec.mailbox_key, 0, 10});
    ASSERT_EQ(box->messages.size(), 1u);
    told_.finished[job.spec.mailbox_key] = box->messages[0].sequence;
    told_.last_sequence = std::max(told_.last_sequence, box->messages[0].sequence);
  }
  void work(int n_jobs) {
    for (int i = 0; i < n_jobs; ++i) submit("k" + std::to_string(i));
    for (int i = 0; i < n_jobs / 2; ++i) finish_one();
  }
  fs::path newest(const std::string& dir, const std::string& ending) const {
    fs::path found;
    for (const auto& entry : fs::directory_iterator(dir)) {
      if (entry.path().string().ends_with(ending) && entry.path() > found) found = entry.path();
    }
    return found;
  }
  // Promises that are broken without a word.
  int count_silent_losses() {
    int n_silent = 0;
    for (const auto& [key, id] : told_.submitted) {
      const auto record = driver_->get(id, "");
      const auto box = driver_->fetch({"default", key, 0, 10});
      if (!record.ok() || !box.ok()) continue;  // it says so
      const bool is_finished = told_.finished.contains(key);
      const bool is_there =
          !is_finished ? std::holds_alternative<Job>(*record)
                       : box->messages.size() == 1 && box->messages[0].ending.body == "of " + key;
      if (!is_there) {
        ++n_silent;
        std::cout << "lost: " << key << " id " << id << " record " << record->index()
                  << " messages " << box->messages.size() << std::endl;
      }
    }
    return n_silent;
  }
  // Nothing is given out twice from here on.
  void expect_new_numbers() {
    const auto submitted = driver_->submit({spec_of("new", 10)});
    if (!submitted.ok()) return;  // it says so
    EXPECT_GT(submitted->at(0).id, told_.last_id);
  }

  TempDir temp_;
  ManualClock clock_{from_unix_us(int64_t{1'790'000'000} * 1'000'000)};
  Told told_;
};

TEST_F(DamageTest, a_flipped_bit_in_the_log_refuses_the_start_and_names_the_place) {
  ASSERT_TRUE(open(dir()).ok());
  work(10);
  copy();
  close();
  const fs::path log = newest(copy_dir(), ".log");
  const uint64_t middle = fs::file_size(log) / 2;
  flip(log, middle * 8);
  const Status status = open(copy_dir());
  ASSERT_FALSE(status.ok());
  EXPECT_EQ(status.code(), StatusCode::corrupt);
  const std::string name = log.filename();
  for (const char* part : {name.c_str(), "offset", "at most", "whole commits behind it",
                           "jobctl store verify", "jobctl store open-anyway"}) {
    EXPECT_NE(status.message().find(part), std::string::npos) << part << ": " << status.message();
  }
  EXPECT_FALSE(open(copy_dir()).ok()) << "and again";
}

TEST_F(DamageTest, the_last_commit_too_is_known_by_the_side_mark) {
  ASSERT_TRUE(open(dir()).ok());
  work(4);
  copy();
  close();
  const fs::path log = newest(copy_dir(), ".log");
  flip(log, (fs::file_size(log) - 1) * 8);
  EXPECT_EQ(open(copy_dir()).code(), StatusCode::corrupt);
}

TEST_F(DamageTest, without_the_side_mark_every_commit_but_the_last_is_known) {
  ASSERT_TRUE(open(dir()).ok());
  work(6);
  copy();
  close();
  fs::remove(fs::path(copy_dir()) / "SYNCED");
  const fs::path log = newest(copy_dir(), ".log");
  flip(log, 8 * (fs::file_size(log) / 2));
  EXPECT_EQ(open(copy_dir()).code(), StatusCode::corrupt);
}

TEST_F(DamageTest, a_missing_or_shortened_log_refuses_the_start) {
  ASSERT_TRUE(open(dir()).ok());
  work(4);
  copy();
  const fs::path log = newest(copy_dir(), ".log");
  const std::string bytes = read_bytes(log);
  fs::remove(log);
  EXPECT_EQ(open(copy_dir()).code(), StatusCode::corrupt);
  write_bytes(log, "");
  EXPECT_EQ(open(copy_dir()).code(), StatusCode::corrupt);
  write_bytes(log, bytes.substr(0, bytes.size() / 2));
  EXPECT_EQ(open(copy_dir()).code(), StatusCode::corrupt);
  write_bytes(log, bytes);
  ASSERT_TRUE(open(copy_dir()).ok()) << "nothing was changed by the refusals";
  EXPECT_EQ(count_silent_losses(), 0);
}

TEST_F(DamageTest, a_missing_CURRENT_is_no_new_store) {
  ASSERT_TRUE(open(dir()).ok());
  work(2);
  copy();
  close();
  fs::remove(fs::path(copy_dir()) / "CURRENT");
  EXPECT_EQ(open(copy_dir()).code(), StatusCode::corrupt);
}

TEST_F(DamageTest, an_unsynced_tail_with_anything_in_it_is_dropped) {
  ASSERT_TRUE(open(dir()).ok());
  work(4);
  std::mt19937_64 random(11);
  for (int i = 0; i < 6; ++i) {
    copy();
    const fs::path log = newest(copy_dir(), ".log");
    std::string tail(1 + random() % 70'000, '\0');
    for (char& byte : tail) byte = static_cast<char>(random() % (i % 2 == 0 ? 256 : 3));
    write_bytes(log, read_bytes(log) + tail);
    close();
    ASSERT_TRUE(open(copy_dir()).ok()) << i;
    EXPECT_EQ(count_silent_losses(), 0);
    close();
    ASSERT_TRUE(open(dir()).ok());
  }
}

TEST_F(DamageTest, whole_commits_behind_damage_in_the_tail_that_no_mark_covers_are_dropped) {
  ASSERT_TRUE(open(dir()).ok());
  work(4);
  copy();
  // The whole log again behind a hole: commits of this store, of sequences that were there.
  const fs::path log = newest(copy_dir(), ".log");
  const std::string bytes = read_bytes(log);
  write_bytes(log, bytes + std::string(50, '\7') + bytes);
  close();
  ASSERT_TRUE(open(copy_dir()).ok());
  EXPECT_EQ(count_silent_losses(), 0);
}

TEST_F(DamageTest, an_accepted_loss_opens_once_with_numbers_far_beyond_and_stays_visible) {
  ASSERT_TRUE(open(dir()).ok());
  work(10);
  copy();
  close();
  const fs::path log = newest(copy_dir(), ".log");
  flip(log, fs::file_size(log) / 2 * 8);
  const auto verdict = wal::check_log(copy_dir(), true);
  ASSERT_TRUE(verdict.ok() && verdict->loss);
  EXPECT_GT(verdict->loss->commits_behind, 0);
  ASSERT_TRUE(wal::accept_loss(copy_dir(), *verdict->loss).ok());
  ASSERT_TRUE(open(copy_dir()).ok());
  constexpr uint64_t kLeap = uint64_t{1} << 32;
  const auto submitted = driver_->submit({spec_of("new", 10)});
  EXPECT_GE(submitted->at(0).id, static_cast<JobId>(kLeap));
  EXPECT_GE(driver_->stats()->open_epoch, kLeap);
  ASSERT_EQ(driver_->stats()->notices.size(), 1u);
  EXPECT_EQ(driver_->stats()->notices[0].code, "store_loss_accepted");
  EXPECT_NE(driver_->stats()->notices[0].text.find(log.filename().string()), std::string::npos);
  const auto jobs = driver_->claim("m", 1);
  Ending ending;
  ASSERT_TRUE(driver_->finish({{jobs->at(0).id, jobs->at(0).lease, ending}}).ok());
  const auto box = driver_->fetch({"default", jobs->at(0).spec.mailbox_key, 0, 10});
  EXPECT_GT(box->messages.at(0).sequence, kLeap);

  ASSERT_TRUE(open(copy_dir()).ok());
  EXPECT_EQ(driver_->stats()->notices.size(), 1u) << "until it is acknowledged";
  EXPECT_LT(driver_->submit({spec_of("newer", 10)})->at(0).id, static_cast<JobId>(2 * kLeap));
  ASSERT_TRUE(wal::acknowledge_loss(copy_dir()).ok());
  EXPECT_TRUE(driver_->stats()->notices.empty());
  EXPECT_EQ(wal::acknowledge_loss(copy_dir()).code(), StatusCode::not_found);

  close();
  const fs::path later = newest(copy_dir(), ".log");
  flip(later, 8 * (fs::file_size(later) - 1));
  EXPECT_EQ(open(copy_dir()).code(), StatusCode::corrupt) << "one loss, once";
}

TEST_F(DamageTest, an_opening_that_died_after_it_dropped_what_is_lost_still_leaps) {
  ASSERT_TRUE(open(dir()).ok());
  work(10);
  copy();
  close();
  const fs::path log = newest(copy_dir(), ".log");
  flip(log, fs::file_size(log) / 2 * 8);
  const auto verdict = wal::check_log(copy_dir(), true);
  ASSERT_TRUE(wal::accept_loss(copy_dir(), *verdict->loss).ok());
  const auto accepted = wal::read_acceptance(copy_dir());
  ASSERT_TRUE(open(copy_dir()).ok());
  close();
  // As if it had died in between: begun, and nothing is lost any more.
  fs::remove(fs::path(copy_dir()) / wal::kAcceptedFile);
  ASSERT_TRUE(wal::begin_acceptance(copy_dir(), *accepted).ok());
  ASSERT_TRUE(open(copy_dir()).ok());
  EXPECT_EQ(driver_->stats()->notices.size(), 1u);
  EXPECT_GE(driver_->submit({spec_of("new", 10)})->at(0).id, static_cast<JobId>(uint64_t{1} << 33));
}

TEST_F(DamageTest, an_acceptance_of_another_loss_opens_nothing) {
  ASSERT_TRUE(open(dir()).ok());
  work(10);
  copy();
  close();
  const fs::path log = newest(copy_dir(), ".log");
  const std::string whole = read_bytes(log);
  flip(log, whole.size() / 2 * 8);
  const auto verdict = wal::check_log(copy_dir(), true);
  ASSERT_TRUE(wal::accept_loss(copy_dir(), *verdict->loss).ok());
  write_bytes(log, whole);
  flip(log, whole.size() / 4 * 8);
  EXPECT_EQ(open(copy_dir()).code(), StatusCode::corrupt);
  write_bytes(log, whole);
  ASSERT_TRUE(open(copy_dir()).ok()) << "nothing is lost: the acceptance is withdrawn";
  EXPECT_LT(driver_->submit({spec_of("new", 10)})->at(0).id, JobId{1000});
  EXPECT_FALSE(wal::read_acceptance(copy_dir()));
}

TEST_F(DamageTest, verify_names_a_damaged_table_and_changes_nothing) {
  ASSERT_TRUE(open(dir()).ok());
  work(12);
  ASSERT_TRUE(open(dir()).ok());  // now in tables
  submit("later");
  EXPECT_EQ(OfflineStore::open(dir()).status().code(), StatusCode::unavailable) << "it is open";
  copy();
  close();
  const auto whole = OfflineStore::open(copy_dir())->verify();
  ASSERT_TRUE(whole.ok()) << whole.status().to_string();
  EXPECT_TRUE(whole->is_whole());
  EXPECT_GT(whole->n_tables, 3);
  EXPECT_GE(whole->n_rows, 12);
  EXPECT_GT(whole->log.n_commits, 0);
  const fs::path table = newest(copy_dir(), ".sst");
  flip(table, 80);
  const auto found = OfflineStore::open(copy_dir())->verify();
  ASSERT_EQ(found->tables.size(), 1u);
  EXPECT_EQ(found->tables[0].file, table.filename().string());
  EXPECT_FALSE(found->log.loss);
  EXPECT_EQ(OfflineStore::open(copy_dir())->accept_loss().status().code(), StatusCode::conflict);
  flip(table, 80);
  ASSERT_TRUE(open(copy_dir()).ok());
  EXPECT_EQ(count_silent_losses(), 0);
}

TEST_F(DamageTest, a_page_names_damaged_messages_and_passes_them_only_when_asked) {
  ASSERT_TRUE(open(dir()).ok());
  std::vector<JobSpec> specs;
  for (int i = 0; i < 60; ++i) specs.push_back(spec_of("box", 10));
  ASSERT_TRUE(driver_->submit(specs).ok());
  const auto jobs = driver_->claim("m", 60);
  std::vector<FinishItem> items;
  std::mt19937_64 random(3);
  for (const Job& job : *jobs) {
    std::string body(1500, ' ');
    for (char& byte : body) byte = static_cast<char>('a' + random() % 26);
    Ending ending;
    ending.body = body;
    items.push_back({job.id, job.lease, ending});
  }
  ASSERT_TRUE(driver_->finish(items).ok());
  ASSERT_TRUE(open(dir()).ok());  // now in a table, two or three messages a block
  close();
  fs::path table;
  for (const auto& entry : fs::directory_iterator(dir())) {
    if (entry.path().extension() != ".sst") continue;
    if (table.empty() || entry.file_size() > fs::file_size(table)) table = entry.path();
  }
  flip(table, fs::file_size(table) / 2 * 8);
  ASSERT_TRUE(open(dir()).ok());
  FetchRequest request{"default", "box", 0, 10};
  size_t n_before = 0;
  std::optional<DamagedRange> damaged;
  for (int pages = 0; pages < 20 && !damaged; ++pages) {
    const auto page = driver_->fetch(request);
    ASSERT_TRUE(page.ok()) << page.status().to_string();
    for (const Message& message : page->messages) EXPECT_EQ(message.sequence, ++n_before);
    request.after_sequence = page->next_sequence;
    damaged = page->damaged;
  }
  ASSERT_TRUE(damaged) << "the damage was passed over in silence";
  EXPECT_EQ(request.after_sequence, n_before);
  EXPECT_EQ(damaged->after, n_before);
  const auto again = driver_->fetch(request);
  EXPECT_TRUE(again->messages.empty());
  EXPECT_EQ(again->next_sequence, request.after_sequence) << "it does not step over";
  request.skip_damaged = true;
  size_t n_behind = 0;
  for (;;) {
    const auto page = driver_->fetch(request);
    ASSERT_TRUE(page.ok());
    if (page->messages.empty()) break;
    if (n_behind == 0) {
      EXPECT_TRUE(page->damaged);
      EXPECT_EQ(page->messages[0].sequence, damaged->through + 1);
    }
    n_behind += page->messages.size();
    request.after_sequence = page->next_sequence;
  }
  EXPECT_EQ(n_before + n_behind + (damaged->through - damaged->after), 60u);
  EXPECT_GT(n_behind, 0u);
  const auto notices = driver_->stats()->notices;
  ASSERT_EQ(notices.size(), 1u);
  EXPECT_EQ(notices[0].code, "store_damaged");
}

// One bit anywhere, in a store whose work lies in logs and tables.
TEST_F(DamageTest, no_flipped_bit_loses_work_in_silence) {
  const bool is_long = std::getenv("PARKD_LONG") != nullptr;
  const uint64_t seed = std::random_device()();
  std::cout << "seed " << seed << std::endl;
  std::mt19937_64 random(seed);
  ASSERT_TRUE(open(dir()).ok());
  work(12);
  ASSERT_TRUE(open(dir()).ok());  // now in tables
  for (int i = 0; i < 8; ++i) submit("later" + std::to_string(i), i % 4 == 0 ? 40'000 : 100);
  for (int i = 0; i < 5; ++i) finish_one();
  int n_refused = 0, n_told = 0, n_whole = 0;
  const std::string pristine = temp_.path() + "/pristine";
  copy_files(dir(), pristine);
  close();
  for (int round = 0; round < (is_long ? 3000 : 60); ++round) {
    close();
    copy_files(pristine, copy_dir());
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(copy_dir())) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("LO") || name.starts_with("OPTIONS") || name == "IDENTITY") continue;
      if (entry.file_size() > 0) files.push_back(entry.path());
    }
    const fs::path log = newest(copy_dir(), ".log");
    const fs::path& path = random() % 2 == 0 ? log : files[random() % files.size()];
    const uint64_t bit = random() % (fs::file_size(path) * 8);
    flip(path, bit);
    const Status status = open(copy_dir());
    if (!status.ok()) {
      ++n_refused;
      continue;
    }
    const int n_silent = count_silent_losses();
    ASSERT_EQ(n_silent, 0) << path.filename() << " bit " << bit << ", seed " << seed;
    expect_new_numbers();
    ++(driver_->get(told_.last_id, "").ok() ? n_whole : n_told);
  }
  close();
  std::cout << "refused " << n_refused << ", opened " << n_whole << ", told by a verb " << n_told
            << std::endl;
  EXPECT_GT(n_refused, 0);
}

}  // namespace
}  // namespace parkd
