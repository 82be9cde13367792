// The arrows that includes draw between files and between folders: none makes a circle. And headers
// compile alone: the first include of x.cc is x.h; what has no such .cc is compiled by
// tests/headers.
#include <gtest/gtest.h>

#include <functional>
#include <iostream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tests/layers/tree.h"

namespace {

using parkd::testing::Include;
using parkd::testing::includes_of;
using parkd::testing::source_files;

using Arrows = std::map<std::string, std::set<std::string>>;

std::string folder(const std::string& path) {
  return path.substr(0, path.rfind('/'));
}

// A circle as "a -> b -> a"; empty where there is none.
std::string circle_of(const Arrows& arrows) {
  std::set<std::string> done;
  std::vector<std::string> way;
  std::string found;
  const std::function<void(const std::string&)> walk = [&](const std::string& at) {
    if (!found.empty()) return;
    for (size_t i = 0; i < way.size(); ++i) {
      if (way[i] != at) continue;
      for (; i < way.size(); ++i) found += way[i] + " -> ";
      found += at;
      return;
    }
    if (done.count(at) > 0) return;
    way.push_back(at);
    const auto next = arrows.find(at);
    if (next != arrows.end()) {
      for (const std::string& to : next->second) walk(to);
    }
    way.pop_back();
    done.insert(at);
  };
  for (const auto& [from, to] : arrows) walk(from);
  return found;
}

TEST(Arrows, form_no_circle) {
  Arrows files;
  Arrows folders;
  size_t n_files = 0;
  size_t n_folders = 0;
  for (const Include& include : includes_of(source_files({"lib", "kernels", "daemon", "tools"}))) {
    if (include.header.find('/') == std::string::npos) continue;
    const std::string top = include.header.substr(0, include.header.find('/'));
    if (top != "lib" && top != "kernels" && top != "daemon" && top != "tools") continue;
    n_files += files[include.file].insert(include.header).second;
    const std::string from = folder(include.file);
    const std::string to = folder(include.header);
    if (from != to) n_folders += folders[from].insert(to).second;
  }
  std::cout << n_files << " arrows between files, " << n_folders << " between " << folders.size()
            << " folders that have some\n";
  ASSERT_GT(n_files, 500u) << "the includes were not found";
  EXPECT_EQ(circle_of(files), "");
  EXPECT_EQ(circle_of(folders), "");
}

TEST(Arrows, a_circle_is_found_and_named) {
  EXPECT_EQ(circle_of({{"a", {"b"}}, {"b", {"c", "d"}}, {"d", {"b"}}}), "b -> d -> b");
  EXPECT_EQ(circle_of({{"a", {"b", "c"}}, {"b", {"c"}}}), "");
}

TEST(Headers, are_the_first_include_of_their_own_file) {
  const std::vector<std::string> files =
      source_files({"lib", "kernels", "daemon", "tools", "tests"});
  const std::set<std::string> known(files.begin(), files.end());
  size_t n_own = 0;
  for (const std::string& header : files) {
    if (header.substr(header.size() - 2) != ".h") continue;
    const std::string stem = header.substr(0, header.size() - 2);
    for (const std::string& own : {stem + ".cc", stem + ".cu"}) {
      if (known.count(own) == 0) continue;
      ++n_own;
      const auto includes = includes_of({own});
      const std::string first = includes.empty() ? "nothing" : includes.front().header;
      EXPECT_TRUE(first == header || first == header.substr(header.rfind('/') + 1))
          << own << " includes " << first << " before " << header
          << ": whether that header compiles alone is not seen";
    }
  }
  std::cout << n_own << " headers are first in a file of their name\n";
  EXPECT_GT(n_own, 100u);
}

}  // namespace
