// A daemon whose model is named by its hf_id alone.
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/e2e/jobs.h"
#include "tests/support/hub_cache_folder.h"

namespace parkd::testing {
namespace {

const std::string kCommit = HubCacheFolder::commit('c');

DaemonSetup named_by_hf_id() {
  DaemonSetup setup;
  setup.hf_id = "Org/Tiny";
  return setup;
}

TEST(HubModel, it_is_taken_from_the_cache_and_outlives_its_entry_there) {
  DaemonProcess daemon(named_by_hf_id());
  const HubCacheFolder hub(daemon.directory() + "/hub", "Org/Tiny");
  hub.ref("main", kCommit);
  std::filesystem::copy_file(daemon.directory() + "/tiny.gguf",
                             hub.link(kCommit, "tiny.Q4_1.gguf"));
  std::filesystem::remove(daemon.directory() + "/tiny.gguf");
  ASSERT_TRUE(daemon.start({{"HF_HUB_CACHE", hub.folder()}})) << daemon.log();
  daemon.wait_for_model();
  const std::string log = daemon.log();
  EXPECT_NE(
      log.find("model.found model=tiny hf_id=Org/Tiny commit=" + kCommit +
               " file=tiny.Q4_1.gguf path=" + (hub.snapshot(kCommit) / "tiny.Q4_1.gguf").string()),
      std::string::npos)
      << log;
  std::filesystem::remove_all(hub.folder());
  const auto client = daemon.client();
  submit(*client, chat_job("box"));
  const json::array messages = wait_for_messages(*client, "box", 1);
  ASSERT_EQ(messages.size(), 1u);
  EXPECT_EQ(text_at(messages.at(0), "outcome"), "completed");
}

TEST(HubModel, one_that_is_not_in_the_cache_is_said_with_what_fetches_it) {
  DaemonProcess daemon(named_by_hf_id());
  ASSERT_TRUE(daemon.start({{"HF_HUB_CACHE", daemon.directory() + "/hub"}})) << daemon.log();
  const auto client = daemon.client();
  std::string models;
  ASSERT_TRUE(daemon.wait_until([&] {
    models = must(client->get("/v1/models")).text;
    return models.find("\"state\":\"failed\"") != models.npos;
  }));
  EXPECT_NE(models.find("hf download Org/Tiny FILE.gguf"), models.npos) << models;
  EXPECT_TRUE(daemon.wait_until([&] {  // said by another thread
    return daemon.log().find("hf download Org/Tiny FILE.gguf") != std::string::npos;
  }));
}

}  // namespace
}  // namespace parkd::testing
