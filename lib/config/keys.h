// The table of configuration keys: which section has which key, and which keys of the systems parkd
// grew out of are refused by name. The one list the parser, its "did you mean" and the test of
// config/parkd.yaml share. Immutable, any thread.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace parkd {

enum class KeyKind {
  section,    // holds a mapping (or models' list) of its own
  value,      // honoured
  alias,      // another name of an honoured key
  forbidden,  // refused, `note` says why
};

struct ConfigKey {
  std::string_view section;  // "" is the top level; models[].parking_lot reads parking_lot's keys
  std::string_view key;
  KeyKind kind = KeyKind::value;
  std::string_view note;
};

std::span<const ConfigKey> config_keys();

// The entry of a key in a section; nullptr when there is none.
const ConfigKey* find_config_key(std::string_view section, std::string_view key);

// What to say after "unknown key": the nearest known key, or the section that has this one, or "".
std::string unknown_key_hint(std::string_view section, std::string_view key);

}  // namespace parkd
