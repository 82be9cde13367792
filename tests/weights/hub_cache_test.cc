// What an hf_id names in a Hugging Face cache, and what is said when it names nothing.
#include "lib/weights/hub_cache.h"

#include <gtest/gtest.h>

#include <map>

#include "tests/support/hub_cache_folder.h"
#include "tests/support/temp_dir.h"

namespace parkd {
namespace {

using testing::HubCacheFolder;

const std::string kA = HubCacheFolder::commit('a');
const std::string kB = HubCacheFolder::commit('b');

class HubCacheTest : public ::testing::Test {
 protected:
  Result<HubFile> find(const std::string& hf_id) const {
    return find_hub_file({hub_.folder(), "HF_HUB_CACHE"}, hf_id);
  }
  void expect_refused(const std::string& hf_id, StatusCode code, const std::string& part) const {
    const auto found = find(hf_id);
    ASSERT_FALSE(found.ok()) << hf_id << " is " << found->path;
    EXPECT_EQ(found.status().code(), code) << found.status().to_string();
    EXPECT_NE(found.status().message().find(part), std::string::npos)
        << "wanted: " << part << "\ngot: " << found.status().message();
  }

  TempDir directory_;
  HubCacheFolder hub_{directory_.path() + "/hub", "Org/Name-1.5"};
};

TEST_F(HubCacheTest, the_one_gguf_file_of_main_is_found_through_its_link) {
  hub_.ref("main", kA + "\n");
  hub_.add(kA, "README.md");
  hub_.add(kA, "x.Q4_1.gguf");
  hub_.add(kB, "another-commit.gguf");
  const auto found = find("Org/Name-1.5");
  ASSERT_TRUE(found.ok()) << found.status().to_string();
  EXPECT_EQ(found->path, (hub_.snapshot(kA) / "x.Q4_1.gguf").string());
  EXPECT_TRUE(std::filesystem::is_symlink(found->path)) << "as the real cache has it";
  EXPECT_EQ(found->commit, kA);
  EXPECT_EQ(found->file, "x.Q4_1.gguf");
  EXPECT_EQ(found->pinned_id(), "Org/Name-1.5@" + kA + ":x.Q4_1.gguf");
  const auto again = find(found->pinned_id());
  ASSERT_TRUE(again.ok()) << again.status().to_string();
  EXPECT_EQ(again->path, found->path);
}

TEST_F(HubCacheTest, a_revision_is_a_ref_with_slashes_or_a_commit) {
  hub_.ref("refs/pr/1", kB);
  hub_.ref("v2.4.0", kB);
  hub_.add(kB, "x.gguf");
  for (const std::string& revision : {std::string("refs/pr/1"), std::string("v2.4.0"), kB}) {
    const auto found = find("Org/Name-1.5@" + revision);
    ASSERT_TRUE(found.ok()) << found.status().to_string();
    EXPECT_EQ(found->commit, kB) << revision;
  }
}

TEST_F(HubCacheTest, several_files_are_listed_and_one_can_be_named) {
  hub_.ref("main", kA);
  hub_.add(kA, "x.Q8_0.gguf");
  hub_.add(kA, "Q4_1/x.gguf");
  expect_refused("Org/Name-1.5", StatusCode::invalid,
                 "2 GGUF files in " + hub_.snapshot(kA).string() +
                     ": Q4_1/x.gguf, x.Q8_0.gguf; name one, Org/Name-1.5:Q4_1/x.gguf");
  const auto found = find("Org/Name-1.5:Q4_1/x.gguf");
  ASSERT_TRUE(found.ok()) << found.status().to_string();
  EXPECT_EQ(found->path, (hub_.snapshot(kA) / "Q4_1/x.gguf").string());
}

TEST_F(HubCacheTest, a_snapshot_of_safetensors_is_a_model_and_a_gguf_file_in_it_can_be_named) {
  hub_.ref("main", kA);
  hub_.add(kA, "config.json");
  hub_.add(kA, "model.safetensors.index.json");
  hub_.add(kA, "x.gguf");
  const auto found = find("Org/Name-1.5");
  ASSERT_TRUE(found.ok()) << found.status().to_string();
  EXPECT_EQ(found->path, hub_.snapshot(kA).string());
  EXPECT_EQ(found->pinned_id(), "Org/Name-1.5@" + kA);
  EXPECT_EQ(find(found->pinned_id())->path, found->path);
  EXPECT_EQ(find("Org/Name-1.5:x.gguf")->file, "x.gguf");
}

TEST_F(HubCacheTest, what_a_snapshot_holds_in_place_of_a_model_is_said) {
  hub_.ref("main", kA);
  hub_.add(kA, "params.json");
  expect_refused("Org/Name-1.5", StatusCode::invalid, "holds Mistral's own files");
  hub_.ref("v1", kB);
  hub_.add(kB, "config.json");
  expect_refused("Org/Name-1.5@v1", StatusCode::invalid,
                 "holds config.json without its model.safetensors");
}

TEST_F(HubCacheTest, a_model_in_several_files_is_its_first) {
  hub_.ref("main", kA);
  hub_.add(kA, "x-00001-of-00002.gguf");
  hub_.add(kA, "x-00002-of-00002.gguf");
  const auto found = find("Org/Name-1.5");
  ASSERT_TRUE(found.ok()) << found.status().message();
  EXPECT_EQ(found->file, "x-00001-of-00002.gguf");
  EXPECT_TRUE(find("Org/Name-1.5:x-00002-of-00002.gguf").ok()) << "opening it says the rest";
  hub_.add(kA, "y-00001-of-00002.gguf");
  expect_refused("Org/Name-1.5", StatusCode::invalid, "3 GGUF files");
  hub_.ref("whole", kB);
  hub_.add(kB, "x-00001-of-00001.gguf");
  EXPECT_TRUE(find("Org/Name-1.5@whole").ok()) << "one of one is whole";
}

TEST_F(HubCacheTest, what_is_not_there_is_named_with_what_fetches_it_and_where_it_was_looked_for) {
  const auto both = [&](const std::string& hf_id, const std::string& what,
                        const std::string& command) {
    expect_refused(hf_id, StatusCode::not_found, what);
    expect_refused(hf_id, StatusCode::not_found, command);
    expect_refused(hf_id, StatusCode::not_found,
                   "Looked in " + hub_.folder() + ", by HF_HUB_CACHE");
  };
  both("Org/Name-1.5", "there is no " + hub_.repository().string(),
       "this fetches it: hf download Org/Name-1.5, or for one file of it hf download Org/Name-1.5 "
       "FILE.gguf (");
  hub_.add(kA, "README.md");
  both("Org/Name-1.5@v1", "refs/v1",
       "hf download Org/Name-1.5 --revision v1, or for one file of it hf download Org/Name-1.5 "
       "FILE.gguf --revision v1 (");
  both("Org/Name-1.5", "there is no " + (hub_.repository() / "refs/main").string(), "FILE.gguf (");
  both("Org/Name-1.5@v1:x.gguf", "refs/v1", "hf download Org/Name-1.5 x.gguf --revision v1 (");
  hub_.ref("main", kB);
  both("Org/Name-1.5", "there is no " + hub_.snapshot(kB).string(), "FILE.gguf (");
  hub_.ref("main", kA);
  both("Org/Name-1.5", "no GGUF file in " + hub_.snapshot(kA).string(), "FILE.gguf (");
  both("Org/Name-1.5:x.gguf", "there is no " + (hub_.snapshot(kA) / "x.gguf").string(),
       "hf download Org/Name-1.5 x.gguf (");
  hub_.link(kA, "x.gguf");
  both("Org/Name-1.5", "x.gguf is a link to nothing", "FILE.gguf (");
}

TEST_F(HubCacheTest, a_ref_that_is_no_commit_leads_nowhere) {
  hub_.add(kA, "x.gguf");
  for (const std::string& text : {std::string("../../elsewhere"), std::string(), kA + "a",
                                  std::string(40, '/'), kA.substr(1)}) {
    hub_.ref("main", text);
    expect_refused("Org/Name-1.5", StatusCode::corrupt, "does not hold a commit");
  }
}

TEST_F(HubCacheTest, an_id_cannot_leave_the_cache) {
  hub_.ref("main", kA);
  hub_.add(kA, "x.gguf");
  for (const std::string& hf_id : {std::string("../Name"),
                                   std::string("Org/.."),
                                   std::string("Org/Name/More"),
                                   std::string("Org--Name"),
                                   std::string("Or--g/Name"),
                                   std::string("/Name"),
                                   std::string("Org/"),
                                   std::string("Org/a..b"),
                                   std::string("Org/-a"),
                                   std::string("Org/a."),
                                   std::string("Org/Name-1.5@"),
                                   std::string("Org/Name-1.5@../refs/main"),
                                   std::string("Org/Name-1.5@/etc/x"),
                                   std::string("Org/Name-1.5@a b"),
                                   std::string("Org/Name-1.5:"),
                                   std::string("Org/Name-1.5:../x.gguf"),
                                   std::string("Org/Name-1.5:/x.gguf"),
                                   std::string("Org/Name-1.5:a//x.gguf"),
                                   std::string("Org/Name-1.5:x.bin"),
                                   std::string("Org/Name-1.5:.gguf"),
                                   "Org/Name-1.5:" + std::string(256, 'x') + ".gguf",
                                   std::string("Org/N\0e", 7),
                                   std::string("")}) {
    expect_refused(hf_id, StatusCode::invalid, "is not an hf_id (ORG/NAME[@REVISION][:FILE.gguf])");
  }
}

// Root may read everything, so a link in a circle stands for what may not be read.
TEST_F(HubCacheTest, what_cannot_be_looked_at_is_not_taken_for_absent) {
  hub_.ref("main", kA);
  hub_.add(kA, "x.gguf");
  const auto file = hub_.snapshot(kA) / "circle.gguf";
  std::filesystem::create_symlink("circle.gguf", file);
  expect_refused("Org/Name-1.5:circle.gguf", StatusCode::denied, "cannot look at " + file.string());
}

TEST(HubCacheFolderOf, the_first_variable_that_is_set_names_it) {
  std::map<std::string, std::string> set = {{"HOME", "/home/me"}};
  const auto find = [&] {
    return find_hub_cache([&](const char* name) -> std::optional<std::string> {
      const auto found = set.find(name);
      if (found == set.end()) return std::nullopt;
      return found->second;
    });
  };
  const auto expect = [&](const std::string& folder, const std::string& named_by) {
    const auto cache = find();
    ASSERT_TRUE(cache.ok()) << cache.status().to_string();
    EXPECT_EQ(cache->folder, folder);
    EXPECT_EQ(cache->named_by, named_by);
  };
  expect("/home/me/.cache/huggingface/hub", "HOME");
  set["XDG_CACHE_HOME"] = "/xdg";
  expect("/xdg/huggingface/hub", "XDG_CACHE_HOME");
  set["HF_HOME"] = "~/hf/";
  expect("/home/me/hf/hub", "HF_HOME");
  set["HF_HUB_CACHE"] = "/hub";
  expect("/hub", "HF_HUB_CACHE");
  set["HF_HUB_CACHE"] = "";
  expect("/home/me/hf/hub", "HF_HOME");
  for (const std::string& bad :
       {std::string("hub"), std::string("/a/$USER"), std::string("~you")}) {
    set["HF_HUB_CACHE"] = bad;
    const auto cache = find();
    ASSERT_FALSE(cache.ok()) << cache->folder;
    EXPECT_EQ(cache.status().message(),
              "HF_HUB_CACHE is \"" + bad + "\", it must be an absolute path without variables");
  }
  set.clear();
  EXPECT_EQ(find().status().message(),
            "HOME is not set: set HF_HUB_CACHE to the folder of the Hugging Face cache");
}

}  // namespace
}  // namespace parkd
