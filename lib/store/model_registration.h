// Which models a daemon serves, as it tells its store (DaemonStore::register_model).
#pragma once

#include <cstdint>
#include <string>

namespace parkd {

// A model a daemon serves, and which files it serves it from.
struct ModelRegistration {
  std::string name;
  std::string content_hash;  // lib/model/content_hash.h
  int32_t context_tokens = 0;
};

struct ModelRegistered {
  bool same = true;          // false: others answer under this name from other files
  std::string content_hash;  // the name's
};

}  // namespace parkd
