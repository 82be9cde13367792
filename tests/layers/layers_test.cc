// The house's rules that a machine can read: which floor may include which, which folder fences
// which third-party library, and that no test file lies about unbuilt.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>
#include <optional>
#include <regex>
#include <string>
#include <vector>

#include "tests/layers/tree.h"

namespace {

namespace fs = std::filesystem;

using parkd::testing::Include;
using parkd::testing::includes_of;
using parkd::testing::source_files;

const fs::path kRoot = parkd::testing::tree_root();

struct Folder {
  std::string path;
  int floor;
};

// DESIGN.md, "Floors". Longest prefix wins.
const std::vector<Folder> kFolders = {
    {"lib/base", 0},    {"lib/job", 1},   {"lib/config", 1},   {"lib/pool", 1},
    {"lib/weights", 1}, {"lib/jinja", 1}, {"lib/store", 2},    {"lib/text", 2},
    {"lib/ipc", 2},     {"lib/model", 3}, {"lib/openai", 3},   {"lib/engine", 4},
    {"lib/backend", 4}, {"lib/http", 4},  {"lib/dispatch", 5}, {"lib/endpoint", 6},
    {"daemon", 7},      {"tools", 7},
};

// Header prefix -> the only folders that may include it.
const std::map<std::string, std::vector<std::string>> kFences = {
    {"pqxx/", {"lib/store/postgres", "tests"}},
    {"libpq-fe.h", {"lib/store/postgres", "tests"}},
    {"rocksdb/", {"lib/store/rocksdb", "tests", "tools/bench"}},
    {"yaml-cpp/", {"lib/config"}},
    {"openssl/", {"lib/config", "tests"}},
    {"curl/", {"lib/config", "daemon/webhooks"}},
    {"spdlog/", {"lib/base"}},
    {"fmt/", {"lib/base"}},
    {"boost/json",
     {"lib/base", "lib/openai", "lib/text", "lib/weights", "lib/model", "daemon", "tools",
      "tests"}},
    {"boost/interprocess", {"lib/weights", "lib/ipc"}},
    {"boost/asio", {"lib/http", "daemon", "tools/jobctl", "tests"}},
    {"boost/beast", {"lib/http", "daemon", "tools/jobctl", "tests"}},
    {"pcre2", {"lib/text"}},
    {"utf8proc", {"lib/text"}},
    {"prometheus/", {"daemon"}},
    {"CLI/", {"daemon", "tools", "tests/gpu"}},
    {"cuda", {"lib/backend/cuda", "kernels/cuda", "tests"}},
};

// Whole sides of the house that never see each other, whatever their floors.
struct Wall {
  std::vector<std::string> from;
  std::vector<std::string> to;
};
const std::vector<Wall> kWalls = {
    // Inference knows nothing of jobs: the dispatcher is the only place that knows both.
    {{"lib/jinja", "lib/weights", "lib/text", "lib/model", "lib/engine", "lib/backend"},
     {"lib/job", "lib/store", "lib/pool", "lib/ipc", "lib/openai", "lib/http"}},
    // The server knows bytes and peers, not what they ask for.
    {{"lib/http"},
     {"lib/job", "lib/store", "lib/pool", "lib/config", "lib/model", "lib/text", "lib/weights"}},
    // Two backends of one interface.
    {{"lib/engine"}, {"lib/backend"}},
    {{"lib/backend"}, {"lib/engine"}},
    // Bodies and answers are text; where jobs are kept is not theirs to know.
    {{"lib/openai"}, {"lib/model", "lib/weights", "lib/pool", "lib/store"}},
};

bool is_under(const std::string& path, const std::string& folder) {
  return path.rfind(folder + "/", 0) == 0;
}

const Folder* folder_of(const std::string& path) {
  for (const Folder& folder : kFolders) {
    if (is_under(path, folder.path)) return &folder;
  }
  return nullptr;
}

// Why `file` may not include `header`; nothing when it may.
std::optional<std::string> floor_violation(const Include& include) {
  const Folder* from = folder_of(include.file);
  const bool from_kernels = is_under(include.file, "kernels");
  const Folder* to = folder_of(include.header);
  if (from_kernels) {
    if (to != nullptr) return "kernels know nothing of lib/";
    return std::nullopt;
  }
  if (is_under(include.header, "kernels")) {
    const bool backend = is_under(include.file, "lib/backend");
    const bool shared = is_under(include.header, "kernels/common");
    const bool tool = from != nullptr && from->floor == 7;
    if (!backend && !shared && !tool) return "only backends use kernels/";
    return std::nullopt;
  }
  if (from == nullptr || to == nullptr) return std::nullopt;
  for (const Wall& wall : kWalls) {
    const auto among = [](const std::vector<std::string>& folders, const Folder* folder) {
      return std::count(folders.begin(), folders.end(), folder->path) > 0;
    };
    if (among(wall.from, from) && among(wall.to, to)) return "a wall stands between the two";
  }
  if (is_under(include.header, "tools") && is_under(include.file, "daemon")) {
    return "the daemon does not use the tools";
  }
  if (from == to || to->floor < from->floor) return std::nullopt;
  return "floor " + std::to_string(from->floor) + " includes floor " + std::to_string(to->floor);
}

TEST(Layers, a_floor_includes_only_lower_floors) {
  const auto includes = includes_of(source_files({"lib", "kernels", "daemon", "tools"}));
  ASSERT_GT(includes.size(), 50u) << "the sources were not found under " << kRoot;
  size_t upward = 0;
  for (const Include& include : includes) {
    const auto why = floor_violation(include);
    upward += why.has_value();
    EXPECT_FALSE(why) << include.file << " includes " << include.header << ": " << *why;
  }
  std::cout << includes.size() << " includes, " << upward << " of them upward or through a wall\n";
}

TEST(Layers, the_rule_would_notice_a_wrong_include) {
  EXPECT_TRUE(floor_violation({"lib/base/log.cc", "lib/job/job.h"}));
  EXPECT_TRUE(floor_violation({"lib/store/job_store.h", "lib/engine/engine.h"}));
  EXPECT_TRUE(floor_violation({"lib/engine/engine.h", "lib/store/job_store.h"}));
  EXPECT_TRUE(floor_violation({"lib/http/http_server.h", "lib/store/job_store.h"}));
  EXPECT_TRUE(floor_violation({"lib/openai/batch_json.h", "lib/store/job_store.h"}));
  EXPECT_TRUE(floor_violation({"kernels/cpu/x.cc", "lib/base/status.h"}));
  EXPECT_TRUE(floor_violation({"lib/model/model.cc", "kernels/cpu/x.h"}));
  EXPECT_FALSE(floor_violation({"lib/dispatch/dispatcher.cc", "lib/store/job_store.h"}));
}

TEST(Layers, third_party_headers_stay_behind_their_fence) {
  for (const Include& include : includes_of(source_files({"lib", "kernels", "daemon", "tools"}))) {
    for (const auto& [prefix, allowed] : kFences) {
      if (include.header.rfind(prefix, 0) != 0) continue;
      const bool inside =
          std::any_of(allowed.begin(), allowed.end(),
                      [&](const std::string& folder) { return is_under(include.file, folder); });
      EXPECT_TRUE(inside) << include.file << " includes " << include.header;
    }
  }
}

// Whether the CMakeLists.txt nearest to `file` (at its side or above), or what all of them call,
// names it.
bool is_in_a_target(const std::string& file) {
  const fs::path path(file);
  for (fs::path folder = path.parent_path(); !folder.empty(); folder = folder.parent_path()) {
    const std::string list = (folder / "CMakeLists.txt").string();
    if (!fs::exists(kRoot / list)) continue;
    // Some lists name sources without their ending (parkd_fuzzer).
    const std::string name = path.lexically_relative(folder).replace_extension("").string();
    const std::string text =
        parkd::testing::tree_text(list) + parkd::testing::tree_text("cmake/parkd.cmake");
    return std::regex_search(text, std::regex("(^|[\\s(/;\"])" + name + "([\\s).]|$)"));
  }
  return false;
}

TEST(Layers, every_source_file_is_in_a_target) {
  for (const std::string& file : source_files({"lib", "kernels", "daemon", "tools", "tests"})) {
    const fs::path path(file);
    if (path.extension() != ".cc" && path.extension() != ".cu") continue;
    EXPECT_TRUE(is_in_a_target(file)) << file << " is not in the CMakeLists.txt nearest to it";
  }
  EXPECT_FALSE(is_in_a_target("lib/base/job.cc")) << "lib/job has it, lib/base has not";
}

}  // namespace
