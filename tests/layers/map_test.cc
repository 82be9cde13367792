// docs/map.md tells where things are, and is held to the tree: every folder with sources has a
// heading, every heading is a folder, what a list names is there, and a folder that lists files
// lists all.
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <regex>
#include <set>
#include <sstream>
#include <string>

#include "tests/layers/tree.h"

namespace {

namespace fs = std::filesystem;

const std::set<std::string> kScripts = {".sh", ".py", ""};

// "base" of a source ("lib/base/text.h": "text"), whole names of scripts.
std::map<std::string, std::set<std::string>> names_in_folders() {
  std::map<std::string, std::set<std::string>> names;
  for (const char* top : {"lib", "kernels", "daemon", "tools"}) {
    for (const auto& entry : fs::recursive_directory_iterator(parkd::testing::tree_root() / top)) {
      if (!entry.is_regular_file() || entry.path().parent_path().filename() == "__pycache__")
        continue;
      const fs::path path = fs::relative(entry.path(), parkd::testing::tree_root());
      const std::string ending = path.extension();
      const bool source = ending == ".h" || ending == ".cc" || ending == ".cu";
      if (!source && kScripts.count(ending) == 0) {
        names[path.parent_path()];  // a folder of other files is a folder
      } else {
        names[path.parent_path()].insert(source ? path.stem() : path.filename());
      }
    }
  }
  names.erase("lib");  // their CMakeLists.txt alone
  names.erase("kernels");
  return names;
}

// What is wrong with the page, one line each.
std::string faults_of(const std::string& page,
                      const std::map<std::string, std::set<std::string>>& names) {
  static const std::regex kName("`([^`]+)`");
  std::map<std::string, std::set<std::string>> listed;  // of each folder with a heading
  std::string faults;
  std::string folder;
  bool in_list = false;
  std::stringstream lines(page);
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("## ", 0) == 0) {
      folder = line.substr(3);
      listed[folder];
      if (names.count(folder) == 0) faults += folder + " is no folder\n";
    }
    const bool item = line.rfind("- ", 0) == 0;
    in_list = item || (in_list && line.rfind("  ", 0) == 0);
    if (!in_list) continue;
    // Names stand before the colon; a list may go on in the next line before it.
    const std::string head =
        line.substr(0, line.find("`:") == std::string::npos ? line.size() : line.find("`:") + 1);
    for (std::sregex_iterator it(head.begin(), head.end(), kName), end; it != end; ++it) {
      listed[folder].insert((*it)[1]);
    }
    if (line.find("`:") != std::string::npos) in_list = false;
  }
  for (const auto& [path, files] : names) {
    if (listed.count(path) == 0) {
      faults += path + " has no heading\n";
      continue;
    }
    const std::set<std::string>& there = listed[path];
    for (const std::string& name : there) {
      if (files.count(name) == 0) faults += path + " has no " + name + "\n";
    }
    if (there.empty()) continue;
    for (const std::string& name : files) {
      if (there.count(name) == 0) faults += path + " lists files, but not " + name + "\n";
    }
  }
  return faults;
}

TEST(Map, of_the_tree_is_true) {
  const auto names = names_in_folders();
  ASSERT_GT(names.size(), 20u);
  EXPECT_EQ(faults_of(parkd::testing::tree_text("docs/map.md"), names), "") << "in docs/map.md";
}

TEST(Map, what_is_missing_or_gone_is_named) {
  const std::string page =
      "# Map\n## a\n- `x`, `y`,\n  `z`: they do `this`.\n## b\nOne sentence on `q`.\n## c\n";
  EXPECT_EQ(faults_of(page, {{"a", {"x", "y", "z"}}, {"b", {"q", "r"}}, {"c", {}}}), "");
  EXPECT_EQ(faults_of(page, {{"a", {"x", "y", "n"}}, {"b", {}}, {"d", {"e"}}}),
            "c is no folder\n"
            "a has no z\n"
            "a lists files, but not n\n"
            "d has no heading\n");
}

TEST(Contributing, names_paths_and_programs_that_there_are) {
  static const std::regex kCode("`([^`]+)`");
  static const std::regex kPath(
      "(lib|daemon|kernels|tools|tests|migrations|config|docs)(/[\\w./-]+)?");
  static const std::regex kProgram("[a-z][a-z0-9_]*_test");
  std::string cmake;
  for (const auto& entry :
       fs::recursive_directory_iterator(parkd::testing::tree_root() / "tests")) {
    if (entry.path().filename() == "CMakeLists.txt") {
      cmake += parkd::testing::tree_text(fs::relative(entry.path(), parkd::testing::tree_root()));
    }
  }
  const std::string page = parkd::testing::tree_text("CONTRIBUTING.md");
  int n_paths = 0;
  int n_programs = 0;
  for (std::sregex_iterator it(page.begin(), page.end(), kCode), end; it != end; ++it) {
    // Of a command its first word.
    const std::string code = (*it)[1].str().substr(0, (*it)[1].str().find(' '));
    if (std::regex_match(code, kPath)) {
      ++n_paths;
      EXPECT_TRUE(fs::exists(parkd::testing::tree_root() / code))
          << "CONTRIBUTING.md names " << code;
    } else if (std::regex_match(code, kProgram)) {
      ++n_programs;
      EXPECT_TRUE(std::regex_search(cmake, std::regex("\\(" + code + "[\\s)]")))
          << "CONTRIBUTING.md names " << code;
    }
  }
  EXPECT_GT(n_paths, 30);
  EXPECT_GT(n_programs, 10);
}

}  // namespace
