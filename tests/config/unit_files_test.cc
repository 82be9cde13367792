// What the unit's files say about TCP.
#include "lib/config/unit_files.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/config/parse.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

void put(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << text;
}

TEST(UnitFiles, a_unit_without_the_drop_in_keeps_tcp_out_and_says_which_is_missing) {
  const TempDir root;
  EXPECT_EQ(unit_keeps_tcp_out(root.path()), "") << "no unit, nothing to say";
  const std::string unit = root.path() + "/usr/local/lib/systemd/system/parkd.service";
  put(unit, file_text("systemd/parkd.service"));
  const std::string said = unit_keeps_tcp_out(root.path());
  EXPECT_NE(said.find(unit), std::string::npos) << said;
  EXPECT_NE(said.find("parkd.service.d/tcp.conf"), std::string::npos) << said;
  const std::string drop_ins = root.path() + "/etc/systemd/system/parkd.service.d";
  put(drop_ins + "/models.conf", "[Service]\nMemoryMax=4G\n");
  put(drop_ins + "/tcp.conf.off", file_text("systemd/tcp.conf"));
  EXPECT_EQ(unit_keeps_tcp_out(root.path()), said);
  put(drop_ins + "/tcp.conf", file_text("systemd/tcp.conf"));
  EXPECT_EQ(unit_keeps_tcp_out(root.path()), "");
}

TEST(UnitFiles, a_unit_without_the_drop_in_keeps_webhooks_in_and_says_which_is_missing) {
  const TempDir root;
  EXPECT_EQ(unit_keeps_webhooks_in(root.path()), "");
  const std::string unit = root.path() + "/usr/local/lib/systemd/system/parkd.service";
  put(unit, file_text("systemd/parkd.service"));
  const std::string said = unit_keeps_webhooks_in(root.path());
  EXPECT_NE(said.find(unit), std::string::npos) << said;
  EXPECT_NE(said.find("parkd.service.d/webhook.conf"), std::string::npos) << said;
  const std::string drop_ins = root.path() + "/etc/systemd/system/parkd.service.d";
  put(drop_ins + "/tcp.conf", file_text("systemd/tcp.conf"));
  EXPECT_EQ(unit_keeps_webhooks_in(root.path()), said) << "in is not out";
  put(drop_ins + "/webhook.conf", file_text("systemd/webhook.conf"));
  EXPECT_EQ(unit_keeps_webhooks_in(root.path()), "");
}

TEST(UnitFiles, a_unit_that_limits_nothing_lets_tcp_in) {
  const TempDir root;
  put(root.path() + "/etc/systemd/system/parkd.service", "[Service]\nExecStart=/bin/true\n");
  EXPECT_EQ(unit_keeps_tcp_out(root.path()), "");
  EXPECT_EQ(unit_keeps_webhooks_in(root.path()), "");
}

}  // namespace
}  // namespace parkd
