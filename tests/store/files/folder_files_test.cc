// The files' suite in a directory, and what is the directory's alone: what a dead process leaves,
// damage of any byte, a full disk, a clock that leaps.
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>

#include "lib/base/text.h"
#include "lib/base/xxh3.h"
#include "lib/store/file_rules.h"
#include "lib/store/folder/file_record.h"
#include "lib/store/folder/folder_files.h"
#include "tests/store/files/files_suite.h"
#include "tests/support/needs_root.h"
#include "tests/support/small_disk.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

namespace fs = std::filesystem;
using parkd::testing::SmallDisk;

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

void spill(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

class FolderHome final : public FilesHome {
 public:
  std::string dir() const { return temp_.path() + "/files"; }
  std::unique_ptr<FileStore> open(const FileLimits& limits, Clock& clock) override {
    auto opened = open_folder_files({dir(), limits}, clock);
    EXPECT_TRUE(opened.ok()) << opened.status().to_string();
    return opened.ok() ? std::move(opened).value() : nullptr;
  }
  void flip_bit(const std::string& id, int64_t piece) override {
    std::string bytes = slurp(dir() + "/" + id);
    bytes[static_cast<size_t>(piece) * kFilePieceBytes + 77] ^= 4;
    spill(dir() + "/" + id, bytes);
  }
  void lose_piece(const std::string& id, int64_t piece) override {
    fs::resize_file(dir() + "/" + id, static_cast<size_t>(piece) * kFilePieceBytes);
  }
  int64_t n_kept() override {
    int64_t n = 0;
    for (const auto& entry : fs::recursive_directory_iterator(dir())) {
      n += entry.path().filename().string().substr(0, 5) == "file-" ? 1 : 0;
    }
    return n;
  }

 private:
  TempDir temp_;
};

INSTANTIATE_TEST_SUITE_P(stores, FilesSuite,
                         ::testing::Values(FilesFactory{
                             "folder", [] { return std::make_unique<FolderHome>(); }}),
                         name_of_files);

class FolderFilesTest : public ::testing::Test {
 protected:
  Status open(FileLimits limits = {}) {
    driver_.reset();
    store_.reset();
    auto opened = open_folder_files({dir_, limits}, clock_);
    if (!opened.ok()) return opened.status();
    store_ = std::move(opened).value();
    driver_ = std::make_unique<FileDriver>(*store_);
    return {};
  }

  TempDir temp_;
  std::string dir_ = temp_.path() + "/files";
  ManualClock clock_{from_unix_us(int64_t{1'790'000'000} * 1'000'000)};
  std::unique_ptr<FileStore> store_;
  std::unique_ptr<FileDriver> driver_;
};

TEST_F(FolderFilesTest, what_a_dead_process_had_not_finished_is_removed_at_the_opening) {
  ASSERT_TRUE(open().ok());
  const auto file = driver_->upload("t", "whole");
  ASSERT_TRUE(file.ok());
  const std::string cut_off = dir_ + "/uploads/" + new_file_id();
  spill(cut_off, "a part");
  spill(dir_ + "/somebody's.txt", "not parkd's");
  ASSERT_TRUE(open().ok());
  EXPECT_FALSE(fs::exists(cut_off));
  EXPECT_TRUE(fs::exists(dir_ + "/somebody's.txt"));
  EXPECT_EQ(driver_->read(file->id).value(), "whole");
  EXPECT_EQ(driver_->figures()->files, 1);
}

TEST_F(FolderFilesTest, files_are_their_owners_alone) {
  ASSERT_TRUE(open().ok());
  const auto file = driver_->upload("t", "x");
  ASSERT_TRUE(file.ok());
  struct stat is {};
  ASSERT_EQ(::stat((dir_ + "/" + file->id).c_str(), &is), 0);
  EXPECT_EQ(is.st_mode & 0777, 0600u);
  ASSERT_EQ(::stat(dir_.c_str(), &is), 0);
  EXPECT_EQ(is.st_mode & 0777, 0700u);
}

TEST_F(FolderFilesTest, until_when_a_file_is_kept_is_a_file_of_its_own_whose_damage_is_noticed) {
  ASSERT_TRUE(open().ok());
  const auto file = driver_->upload("t", "x");
  ASSERT_TRUE(file.ok());
  const std::string kept = dir_ + "/kept/" + file->id;
  EXPECT_FALSE(fs::exists(kept));
  const WallTime until = file->expires_at + std::chrono::hours(1);
  ASSERT_TRUE(driver_->keep(file->id, "t", until).ok());
  const std::string good = slurp(kept);
  // Of a file that is gone, of a process that died while it wrote, and somebody's.
  spill(dir_ + "/kept/" + new_file_id(), good);
  spill(kept + ".new", "17900");
  spill(dir_ + "/kept/somebody's.txt", "not parkd's");
  ASSERT_TRUE(open().ok());
  EXPECT_EQ(driver_->get(file->id)->expires_at, until);
  EXPECT_EQ(std::distance(fs::directory_iterator(dir_ + "/kept"), fs::directory_iterator()), 2);
  EXPECT_TRUE(driver_->figures()->notices.empty());
  const auto expect_noticed = [&](const std::string& bytes) {
    spill(kept, bytes);
    ASSERT_TRUE(open().ok());
    EXPECT_EQ(driver_->get(file->id)->expires_at, file->expires_at) << bytes;
    EXPECT_EQ(driver_->figures()->notices.size(), 1u) << bytes;
    EXPECT_EQ(driver_->read(file->id).value(), "x") << bytes;
  };
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bytes = good;
    bytes[i] = static_cast<char>(bytes[i] ^ 1);
    expect_noticed(bytes);
    expect_noticed(good.substr(0, i));
  }
  expect_noticed(std::string(100, '9'));
  ASSERT_TRUE(driver_->keep(file->id, "t", until).ok());
  EXPECT_EQ(slurp(kept), good) << "said again, it is whole";
}

// Any byte of the file on the disk, and any length: the file's own bytes are told when they are
// read, the record at the opening. Nothing is ever another file.
TEST_F(FolderFilesTest, any_damaged_byte_is_noticed) {
  ASSERT_TRUE(open().ok());
  const auto file = driver_->upload("t", "some bytes");
  ASSERT_TRUE(file.ok());
  const std::string path = dir_ + "/" + file->id;
  const std::string good = slurp(path);
  const uint64_t seed = random_u64();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  const auto expect_noticed = [&](const std::string& bytes, const std::string& how) {
    spill(path, bytes);
    ASSERT_TRUE(open().ok()) << how;
    const auto read = driver_->read(file->id);
    EXPECT_FALSE(read.ok()) << how << " was read as " << *read;
    const auto notices = driver_->figures()->notices;
    ASSERT_EQ(notices.size(), 1u) << how;
    EXPECT_NE(notices[0].text.find(path), std::string::npos) << notices[0].text;
  };
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bytes = good;
    bytes[i] = static_cast<char>(bytes[i] ^ (1 << random() % 8));
    expect_noticed(bytes, "byte " + std::to_string(i));
  }
  for (size_t n = 0; n < good.size(); ++n) {
    expect_noticed(good.substr(0, n), "cut to " + std::to_string(n));
  }
  expect_noticed(good + "x", "one byte more");
  spill(path, good);
  const std::string other = dir_ + "/" + new_file_id();
  fs::rename(path, other);
  ASSERT_TRUE(open().ok());
  EXPECT_EQ(driver_->figures()->files, 0) << "a file under another's name";
  fs::remove(other);
  EXPECT_TRUE(driver_->figures()->notices.empty()) << "the operator has removed it";
}

TEST_F(FolderFilesTest, records_of_any_bytes_are_refused_without_harm) {
  const uint64_t seed = random_u64();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  FileRecord record{{new_file_id(), "t", "a.jsonl", "batch", 3 * 1048576 - 1, {}, {}}, {1, 2, 3}};
  const std::string good = record.encode();
  ASSERT_EQ(decode_file_record(good)->file, record.file);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = good;
    for (uint64_t n = 1 + random() % 4; n > 0; --n) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    // With a checksum that fits, so that what is behind it is looked at.
    if (i % 2 == 0) {
      const uint64_t sum = xxh3_64(std::string_view(bytes).substr(0, bytes.size() - 24));
      for (size_t b = 0; b < 8; ++b) {
        bytes[bytes.size() - 24 + b] = static_cast<char>(sum >> (8 * b));
      }
    }
    const auto read = decode_file_record(bytes);
    if (read.ok()) {
      EXPECT_EQ(read->encode().size(), bytes.size());
    } else {
      EXPECT_EQ(read.status().code(), StatusCode::corrupt);
    }
  }
}

TEST_F(FolderFilesTest, a_clock_that_leaps_deletes_nothing) {
  ASSERT_TRUE(open().ok());
  const auto file = driver_->upload("t", "x");
  ASSERT_TRUE(file.ok());
  clock_.step_wall(std::chrono::hours(24 * 40));
  ASSERT_TRUE(driver_->purge().ok());
  EXPECT_TRUE(fs::exists(dir_ + "/" + file->id));
  ASSERT_TRUE(open().ok());  // and a new process knows what time it was
  ASSERT_TRUE(driver_->purge().ok());
  EXPECT_TRUE(fs::exists(dir_ + "/" + file->id));
  clock_.step_wall(-std::chrono::hours(24 * 40));
  clock_.advance(std::chrono::minutes(2));  // until it is believed again
  EXPECT_EQ(driver_->read(file->id).value(), "x");
}

TEST_F(FolderFilesTest, what_must_stay_free_on_the_disk_is_not_written_on) {
  FileLimits limits;
  limits.min_free_disk_bytes = int64_t{1} << 60;
  ASSERT_TRUE(open(limits).ok());
  const auto refused = driver_->begin("t");
  EXPECT_EQ(refused.status().code(), StatusCode::exhausted);
  EXPECT_NE(refused.status().message().find("daemon.min_free_disk_mb"), std::string::npos);
}

TEST_F(FolderFilesTest, a_disk_that_fills_up_in_an_upload_costs_that_upload_alone) {
  PARKD_NEEDS_ROOT();
  SmallDisk disk(temp_.path() + "/disk", 8, SmallDisk::Kind::tmpfs);
  dir_ = temp_.path() + "/disk/files";
  ASSERT_TRUE(open().ok());
  const std::string bytes = file_bytes(3 * kFilePieceBytes, 5);
  const auto kept = driver_->upload("t", bytes);
  ASSERT_TRUE(kept.ok());
  const auto refused = driver_->upload("t", file_bytes(9 * kFilePieceBytes, 6));
  EXPECT_EQ(refused.status().code(), StatusCode::exhausted) << refused.status().to_string();
  EXPECT_EQ(driver_->figures()->uploads, 0);
  EXPECT_EQ(driver_->read(kept->id).value(), bytes);
  EXPECT_TRUE(driver_->upload("t", file_bytes(2 * kFilePieceBytes, 7)).ok())
      << "what the refused upload had taken is free again";
  driver_.reset();
  store_.reset();
}

// With files and, by a program that is new there, without a directory for them.
TEST_F(FolderFilesTest, a_full_disk_holds_up_no_opening) {
  PARKD_NEEDS_ROOT();
  const std::string at = temp_.path() + "/disk";
  SmallDisk disk(at, 8, SmallDisk::Kind::ext4);
  dir_ = at + "/files";
  ASSERT_TRUE(open().ok());
  const auto kept = driver_->upload("t", "kept");
  ASSERT_TRUE(kept.ok());
  driver_.reset();
  store_.reset();
  disk.fill();
  for (const std::string& dir : {at + "/none", at + "/files"}) {
    dir_ = dir;
    const Status opened = open();
    ASSERT_TRUE(opened.ok()) << opened.to_string();
    EXPECT_EQ(driver_->figures()->files, dir == at + "/files" ? 1 : 0);
    const auto refused = driver_->begin("t");
    const auto written = refused.ok()
                             ? driver_->append(*refused, std::string(kFilePieceBytes, 'x')).status()
                             : refused.status();
    EXPECT_EQ(written.code(), StatusCode::exhausted) << written.to_string();
  }
  EXPECT_EQ(driver_->read(kept->id).value(), "kept");
  disk.make_room();
  EXPECT_TRUE(driver_->upload("t", "x").ok());
  driver_.reset();
  store_.reset();
}

TEST_F(FolderFilesTest, a_directory_that_cannot_be_made_is_named) {
  spill(dir_, "a file is in the way");
  const Status refused = open();
  EXPECT_EQ(refused.code(), StatusCode::unavailable);
  EXPECT_NE(refused.message().find(dir_), std::string::npos) << refused.to_string();
}

}  // namespace
}  // namespace parkd
