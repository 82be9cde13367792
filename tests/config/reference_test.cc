// config/parkd.yaml is the reference: it has every key, and what it says of defaults is true.
#include <gtest/gtest.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <regex>
#include <set>
#include <sstream>

#include "lib/base/sampling_fields.h"
#include "tests/config/parse.h"

namespace parkd {
namespace {

// The reference with its "#key: value" lines uncommented; prose has a space after its #.
std::string uncommented() {
  static const std::regex kKeyLine(R"(^( *)#([a-z_]+:.*)$)");
  std::stringstream text(file_text("config/parkd.yaml"));
  std::string line, result;
  while (std::getline(text, line)) result += std::regex_replace(line, kKeyLine, "$1$2") + "\n";
  return result;
}

void add_keys(const YAML::Node& node, const std::string& prefix, std::set<std::string>& keys) {
  for (const auto& pair : node) {
    const std::string name = prefix + pair.first.as<std::string>();
    if (pair.second.IsMap() && pair.second.size() > 0) {
      add_keys(pair.second, name + ".", keys);
    } else if (name == "models") {
      for (const auto& model : pair.second) add_keys(model, "models[].", keys);
    } else {
      keys.insert(name);
    }
  }
}

TEST(ConfigReference, has_every_key_the_parser_knows_and_no_other) {
  std::set<std::string> written;
  add_keys(YAML::Load(uncommented()), "", written);
  written.erase("models[].parking_lot");  // a section; its keys stand under the global one
  const std::vector<std::string> list = known_config_keys();
  const std::set<std::string> known(list.begin(), list.end());
  ASSERT_GT(known.size(), 40u);
  EXPECT_EQ(list.size(), known.size()) << "a key is listed twice";
  const std::string text = file_text("config/parkd.yaml");
  for (const std::string& key : known) {
    if (key.rfind("daemon.webhooks[].", 0) == 0) {  // of a list that is empty by default: in prose
      const std::string name = key.substr(key.rfind('.') + 1);
      EXPECT_TRUE(std::regex_search(text, std::regex("# +(- )?" + name + ": "))) << key;
      continue;
    }
    EXPECT_EQ(written.count(key), 1u) << "config/parkd.yaml lacks " << key;
  }
  for (const std::string& key : written) {
    EXPECT_EQ(known.count(key), 1u) << "the parser does not know " << key;
  }
  EXPECT_NE(file_text("config/parkd.yaml").find("yaque_dir"), std::string::npos)
      << "aliases are mentioned";
}

TEST(ConfigReference, parses_as_it_stands_and_with_every_line_uncommented) {
  const Config as_it_stands = parsed(file_text("config/parkd.yaml"));
  Config all = parsed(uncommented());
  // Equal: each commented value is the default.
  EXPECT_EQ(print_config(all), print_config(as_it_stands));
  EXPECT_TRUE(all == as_it_stands);
}

TEST(ConfigReference, says_the_range_of_each_sampling_parameter) {
  const std::string text = file_text("config/parkd.yaml");
  for (const SamplingField& field : kSamplingFields) {
    if (!field.in_config) continue;
    std::ostringstream range;
    range << field.name << (field.min_is_out ? " above " : " ") << field.min << " .. " << field.max;
    EXPECT_NE(text.find(range.str()), std::string::npos) << range.str();
  }
}

TEST(ConfigReference, every_key_is_explained_just_above_it) {
  std::stringstream text(file_text("config/parkd.yaml"));
  static const std::regex kCommentedKey(R"(^ *#[a-z_]+:.*$)");
  static const std::regex kProse(R"(^ *# .*$)");
  std::string line, previous;
  int n_keys = 0;
  while (std::getline(text, line)) {
    if (std::regex_match(line, kCommentedKey)) {
      ++n_keys;
      EXPECT_TRUE(std::regex_match(previous, kProse) || std::regex_match(previous, kCommentedKey))
          << line;
    }
    previous = line;
  }
  EXPECT_GT(n_keys, 40);
}

}  // namespace
}  // namespace parkd
