// TokenizerFile: one JSON file of a model, and errors that name the file and the member at fault.
// One thread. Pointers and views into it live as long as it.
#pragma once

#include <boost/json.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "lib/base/json_memory.h"
#include "lib/base/status.h"

namespace parkd {

class TokenizerFile {
 public:
  // Errors: invalid.
  static Result<TokenizerFile> read(std::string_view file, std::string_view text);

  const boost::json::object& root() const { return root_->as_object(); }
  Status corrupt_at(std::string_view member, const std::string& why) const;
  Status unsupported(std::string_view member, const std::string& why) const;

 private:
  std::string file_;
  std::unique_ptr<JsonMemory> memory_;
  std::unique_ptr<const boost::json::value> root_;
};

// A member of an object: nullptr where it is missing, null or of another type.
const boost::json::object* object_in(const boost::json::object& object, std::string_view name);
const boost::json::array* array_in(const boost::json::object& object, std::string_view name);
const boost::json::string* string_in(const boost::json::object& object, std::string_view name);
bool bool_in(const boost::json::object& object, std::string_view name, bool otherwise);
bool is_given(const boost::json::object& object, std::string_view name);  // and not null

inline std::string_view view(const boost::json::string& text) {
  return {text.data(), text.size()};
}

}  // namespace parkd
