#include "lib/base/main_memory.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

class CgroupLimit : public ::testing::Test {
 protected:
  void write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_.path() + path;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text << "\n";
  }
  std::optional<int64_t> limit() {
    return cgroup_memory_limit(root_.path(), root_.path() + "/of_process");
  }
  TempDir root_;
};

TEST_F(CgroupLimit, of_a_unit_is_its_own_and_not_the_machines) {
  write("/of_process", "0::/system.slice/parkd.service");
  write("/system.slice/memory.max", "max");
  write("/system.slice/parkd.service/memory.max", "4294967296");
  EXPECT_EQ(limit(), int64_t{4} << 30);
}

TEST_F(CgroupLimit, is_the_least_of_those_above) {
  write("/of_process", "0::/a/b/c");
  write("/memory.max", "900");
  write("/a/memory.max", "500");
  write("/a/b/memory.max", "700");
  write("/a/b/c/memory.max", "max");
  EXPECT_EQ(limit(), 500);
}

TEST_F(CgroupLimit, of_a_container_that_sees_only_its_own_is_at_the_root) {
  write("/of_process", "12:memory:/old\n0::/../../docker/0123");
  write("/memory.max", "300");
  EXPECT_EQ(limit(), 300);
}

TEST_F(CgroupLimit, there_may_be_none) {
  EXPECT_EQ(limit(), std::nullopt) << "nothing is there to be read";
  write("/of_process", "0::/a");
  write("/a/memory.max", "max");
  EXPECT_EQ(limit(), std::nullopt);
}

}  // namespace
}  // namespace parkd
