// The suite that every FileStore passes. One joins by INSTANTIATE_TEST_SUITE_P with its factory.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>

#include "lib/base/clock.h"
#include "lib/store/file_store.h"
#include "tests/store/files/file_driver.h"

namespace parkd {

// Where one test's files live: opening again gives the same files.
class FilesHome {
 public:
  virtual ~FilesHome() = default;
  virtual std::unique_ptr<FileStore> open(const FileLimits& limits, Clock& clock) = 0;
  // Changes one bit of a piece, or removes its bytes altogether, behind the store's back.
  virtual void flip_bit(const std::string& id, int64_t piece) = 0;
  virtual void lose_piece(const std::string& id, int64_t piece) = 0;
  // What is kept of uploads and files, pieces included: 0 when nothing is left.
  virtual int64_t n_kept() = 0;
};

struct FilesFactory {
  std::string name;
  std::function<std::unique_ptr<FilesHome>()> make_home;
};

class FilesSuite : public testing::TestWithParam<FilesFactory> {
 protected:
  void SetUp() override;
  void TearDown() override;

  void open();   // with limits_; what was open is stopped
  void purge();  // until there is nothing to drop any more

  ManualClock clock_{from_unix_us(int64_t{1'790'000'000} * 1'000'000)};
  FileLimits limits_;
  std::unique_ptr<FilesHome> home_;
  std::unique_ptr<FileStore> store_;
  std::unique_ptr<FileDriver> driver_;
};

// Bytes that no piece has twice.
std::string file_bytes(size_t n, uint64_t seed);

inline std::string name_of_files(const testing::TestParamInfo<FilesFactory>& info) {
  return info.param.name;
}

}  // namespace parkd
