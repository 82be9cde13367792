// Short ways from a YAML text to a Config or to the message that refuses it.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <optional>
#include <sstream>
#include <string>

#include "lib/config/config.h"

namespace parkd {

// ROOT, TAIL and HOME are set, EMPTY is set to nothing.
inline ConfigInputs test_inputs() {
  ConfigInputs inputs;
  inputs.environment = [](std::string_view name) -> std::optional<std::string> {
    if (name == "ROOT") return "/root-of-test";
    if (name == "TAIL") return "-tail";
    if (name == "HOME") return "/home-of-test";
    if (name == "EMPTY") return "";
    return std::nullopt;
  };
  return inputs;
}

inline Config parsed(const std::string& text) {
  const auto config = parse_config(text, "t.yaml", test_inputs());
  EXPECT_TRUE(config.ok()) << config.status().to_string() << "\n" << text;
  return config.ok() ? *config : Config();
}

// The message that refuses `text`; "" when it is accepted.
inline std::string error_of(const std::string& text) {
  const auto config = parse_config(text, "t.yaml", test_inputs());
  return config.ok() ? "" : config.status().message();
}

// One model m, and: a parking_lot of one line, m's params, or a daemon section.
inline std::string with_lot(const std::string& line) {
  return "models: [{name: m, hf_id: x/m}]\nparking_lot:\n  " + line + "\n";
}
inline std::string with_params(const std::string& params) {
  return "models:\n- name: m\n  hf_id: x/m\n  params: " + params + "\n";
}
inline std::string with_daemon(const std::string& daemon) {
  return "models: [{name: m, hf_id: x/m}]\ndaemon:\n  " + daemon + "\n";
}

inline std::string file_text(const std::string& path_in_tree) {
  std::ifstream file(std::string(PARKD_SOURCE_DIR) + "/" + path_in_tree);
  EXPECT_TRUE(file) << path_in_tree;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

inline Config loaded(const std::string& path_in_tree) {
  return parsed(file_text(path_in_tree));
}

}  // namespace parkd
