// No class stands twice in one namespace: two types of one name in two files are one type to the
// linker, which keeps one of their functions and drops the other (C++ [basic.def.odr]). Names in
// unnamed namespaces and inside other types are their own. A reader of text, so that types of
// programs that are never linked together are held to the rule as well; `tools/check.sh full` asks
// the linker (preset odr).
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

namespace {

namespace fs = std::filesystem;

const fs::path kRoot = PARKD_SOURCE_DIR;

// The text without comments, preprocessor lines and what stands in quotes.
std::string bare(const std::string& text) {
  static const std::regex kRaw("R\"([a-z]*)\\(");
  std::string out;
  size_t i = 0;
  const auto skip_to = [&](const std::string& end, size_t from) {
    const size_t found = text.find(end, from);
    i = found == std::string::npos ? text.size() : found + end.size();
  };
  while (i < text.size()) {
    std::smatch raw;
    if (text.compare(i, 2, "//") == 0) {
      i = std::min(text.find('\n', i), text.size());
    } else if (text.compare(i, 2, "/*") == 0) {
      skip_to("*/", i + 2);
    } else if (text[i] == 'R' &&
               std::regex_search(text.begin() + static_cast<ptrdiff_t>(i), text.end(), raw, kRaw,
                                 std::regex_constants::match_continuous)) {
      skip_to(")" + raw[1].str() + "\"", i + static_cast<size_t>(raw.length()));
    } else if (text[i] == '\'' && i > 0 && std::isalnum(static_cast<unsigned char>(text[i - 1]))) {
      ++i;  // 1'000
    } else if (text[i] == '"' || text[i] == '\'') {
      const char quote = text[i];
      for (++i; i < text.size() && text[i] != quote; ++i) {
        if (text[i] == '\\') ++i;
      }
      ++i;
    } else if (text[i] == '#' && (out.empty() || out.back() == '\n')) {
      while (i < text.size() && (text[i] != '\n' || text[i - 1] == '\\')) ++i;
    } else {
      out += text[i++];
    }
  }
  return out;
}

// "parkd::testing::Rig" of each type with a body at the level of named namespaces.
std::vector<std::string> types_of(const std::string& text) {
  static const std::regex kNamespace(R"((?:inline\s+)?namespace\s*([\w:]*)\s*$)");
  static const std::regex kType(
      R"(^\s*(?:template\s*<[^;{}]*>\s*)?(?:class|struct|union|enum(?:\s+class|\s+struct)?)\s+)"
      R"((?:alignas\s*\([^)]*\)\s*|\[\[[^\]]*\]\]\s*)*([A-Za-z_]\w*)\s*(?:final)?\s*(?::[^:(][^(]*)?$)");
  struct Scope {
    bool is_namespace = false;
    std::string name;  // empty: unnamed
  };
  std::vector<Scope> scopes;
  std::vector<std::string> types;
  const std::string code = bare(text);
  size_t head_begin = 0;
  for (size_t i = 0; i < code.size(); ++i) {
    if (code[i] != '{' && code[i] != '}' && code[i] != ';') continue;
    const std::string head = code.substr(head_begin, i - head_begin);
    head_begin = i + 1;
    if (code[i] == '}' && !scopes.empty()) scopes.pop_back();
    if (code[i] != '{') continue;
    std::smatch match;
    if (std::regex_search(head, match, kNamespace)) {
      scopes.push_back({true, match[1]});
      continue;
    }
    const bool named = std::all_of(scopes.begin(), scopes.end(), [](const Scope& scope) {
      return scope.is_namespace && !scope.name.empty();
    });
    if (named && std::regex_search(head, match, kType)) {
      std::string whole;
      for (const Scope& scope : scopes) whole += scope.name + "::";
      types.push_back(whole + match[1].str());
    }
    scopes.push_back({});
  }
  return types;
}

std::string read_file(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TEST(ClassNames, no_name_stands_twice_in_a_namespace) {
  std::map<std::string, std::vector<std::string>> files_of;
  for (const char* top : {"lib", "kernels", "daemon", "tools", "tests"}) {
    for (const auto& entry : fs::recursive_directory_iterator(kRoot / top)) {
      const std::string ending = entry.path().extension();
      if (ending != ".h" && ending != ".cc" && ending != ".cu") continue;
      for (const std::string& type : types_of(read_file(entry.path()))) {
        files_of[type].push_back(fs::relative(entry.path(), kRoot).string());
      }
    }
  }
  ASSERT_GT(files_of.size(), 300u) << "the types were not found under " << kRoot;
  ASSERT_EQ(files_of.count("parkd::JobStore"), 1u);
  for (const auto& [type, files] : files_of) {
    std::string all;
    for (const std::string& file : files) all += " " + file;
    EXPECT_EQ(files.size(), 1u) << type << " stands in" << all << ": name each by what it is";
  }
}

TEST(ClassNames, the_rule_finds_types_and_nothing_else) {
  const std::vector<std::string> found = types_of(R"cpp(
    // struct Comment {};
#define MACRO    \
      struct Macro { \
        int a;       \
      }
    namespace parkd {
    struct A {
      struct Inner {
        int x;
      };
    };
    namespace {
    struct Hidden {
      int y;
    };
    }  // namespace
    template <class T>
    class B final : public A {
      void f() {
        struct Local {};
      }
    };
    enum class C : int { one, two };
    namespace testing {
    class D : public A, private Other<int> {};
    }  // namespace testing
    struct Declared;
    struct E* make(int n) {
      return nullptr;
    }
    const char* text = "struct Text {";
    char brace = '{';
    int n = 1'000'000;
    struct alignas(16) F {
      int z;
    };
    }  // namespace parkd
    struct G {};
  )cpp");
  EXPECT_EQ(found, (std::vector<std::string>{"parkd::A", "parkd::B", "parkd::C",
                                             "parkd::testing::D", "parkd::F", "G"}));
}

}  // namespace
