// The file system of the power-cut tests, itself: if it kept what it should forget, they would
// show nothing.
#include "tests/store/power_cut_fs.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

class PowerCutFsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(dir());
    restart();
  }
  std::string dir() const { return temp_.path() + "/d"; }
  std::string path(const std::string& name) const { return dir() + "/" + name; }

  void restart() { fs_ = std::make_shared<PowerCutFs>(temp_.path() + "/held"); }

  std::unique_ptr<rocksdb::FSWritableFile> create(const std::string& name) {
    std::unique_ptr<rocksdb::FSWritableFile> file;
    EXPECT_TRUE(fs_->NewWritableFile(path(name), {}, &file, nullptr).ok());
    return file;
  }
  void sync_dir() {
    std::unique_ptr<rocksdb::FSDirectory> directory;
    ASSERT_TRUE(fs_->NewDirectory(dir(), {}, &directory, nullptr).ok());
    ASSERT_TRUE(directory->Fsync({}, nullptr).ok());
  }
  std::string read(const std::string& name) {
    std::unique_ptr<rocksdb::FSSequentialFile> file;
    if (!fs_->NewSequentialFile(path(name), {}, &file, nullptr).ok()) return "(none)";
    char scratch[100];
    rocksdb::Slice bytes;
    EXPECT_TRUE(file->Read(sizeof scratch, {}, &bytes, scratch, nullptr).ok());
    return bytes.ToString();
  }

  TempDir temp_;
  std::shared_ptr<PowerCutFs> fs_;
};

TEST_F(PowerCutFsTest, unsynced_bytes_are_read_but_do_not_survive) {
  auto file = create("a");
  ASSERT_TRUE(file->Append("one", {}, nullptr).ok());
  ASSERT_TRUE(file->Sync({}, nullptr).ok());
  ASSERT_TRUE(file->Append("two", {}, nullptr).ok());
  sync_dir();
  EXPECT_EQ(read("a"), "onetwo");
  restart();
  EXPECT_EQ(read("a"), "one");
}

TEST_F(PowerCutFsTest, a_synced_file_in_an_unsynced_directory_does_not_survive) {
  auto file = create("a");
  ASSERT_TRUE(file->Append("one", {}, nullptr).ok());
  ASSERT_TRUE(file->Sync({}, nullptr).ok());
  EXPECT_EQ(read("a"), "one");
  restart();
  EXPECT_EQ(read("a"), "(none)");
}

TEST_F(PowerCutFsTest, renames_and_deletions_survive_from_the_directorys_sync_on) {
  for (const char* name : {"a", "b"}) {
    auto file = create(name);
    ASSERT_TRUE(file->Append(name, {}, nullptr).ok());
    ASSERT_TRUE(file->Sync({}, nullptr).ok());
  }
  sync_dir();
  ASSERT_TRUE(fs_->RenameFile(path("a"), path("b"), {}, nullptr).ok());
  EXPECT_EQ(read("b"), "a");
  restart();
  EXPECT_EQ(read("a"), "a");
  EXPECT_EQ(read("b"), "b");
  ASSERT_TRUE(fs_->RenameFile(path("a"), path("b"), {}, nullptr).ok());
  sync_dir();
  restart();
  EXPECT_EQ(read("a"), "(none)");
  EXPECT_EQ(read("b"), "a");
  ASSERT_TRUE(fs_->DeleteFile(path("b"), {}, nullptr).ok());
  restart();
  EXPECT_EQ(read("b"), "a");
  ASSERT_TRUE(fs_->DeleteFile(path("b"), {}, nullptr).ok());
  sync_dir();
  restart();
  EXPECT_EQ(read("b"), "(none)");
}

TEST_F(PowerCutFsTest, nothing_works_after_the_cut_and_the_fatal_sync_is_torn) {
  auto file = create("a");
  sync_dir();
  ASSERT_TRUE(file->Append("0123456789", {}, nullptr).ok());
  fs_->cut_at_sync(1, 40);
  EXPECT_FALSE(file->Sync({}, nullptr).ok());
  EXPECT_FALSE(file->Append("x", {}, nullptr).ok());
  EXPECT_FALSE(fs_->DeleteFile(path("a"), {}, nullptr).ok());
  restart();
  EXPECT_EQ(read("a"), "0123");
}

TEST_F(PowerCutFsTest, sectors_of_an_unsynced_write_survive_in_any_order) {
  bool saw_hole = false;
  for (uint64_t seed = 0; seed < 50 && !saw_hole; ++seed) {
    auto file = create("s" + std::to_string(seed));
    sync_dir();
    ASSERT_TRUE(file->Append("synced", {}, nullptr).ok());
    ASSERT_TRUE(file->Sync({}, nullptr).ok());
    ASSERT_TRUE(file->Append(std::string(2000, 'x'), {}, nullptr).ok());
    fs_->cut_at_sync_in_any_order(1, seed);
    EXPECT_FALSE(file->Sync({}, nullptr).ok());
    restart();
    std::ifstream in(path("s" + std::to_string(seed)));
    const std::string bytes{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    ASSERT_EQ(bytes.substr(0, 6), "synced");
    const size_t hole = bytes.find('\0');
    saw_hole = hole != std::string::npos && bytes.find('x', hole) != std::string::npos;
  }
  EXPECT_TRUE(saw_hole);
}

TEST_F(PowerCutFsTest, a_full_disk_refuses_and_later_accepts) {
  auto file = create("a");
  fs_->set_full(true);
  EXPECT_TRUE(file->Append("x", {}, nullptr).IsNoSpace());
  fs_->set_full(false);
  EXPECT_TRUE(file->Append("x", {}, nullptr).ok());
}

}  // namespace
}  // namespace parkd
