#include "lib/text/tokenizer_file.h"

#include <utility>

#include "lib/base/json_reader.h"

namespace parkd {
namespace {

constexpr size_t kDepthMax = 32;

}  // namespace

Result<TokenizerFile> TokenizerFile::read(std::string_view file, std::string_view text) {
  TokenizerFile made;
  made.file_ = std::string(file);
  made.memory_ = std::make_unique<JsonMemory>(text.size());
  PARKD_ASSIGN_OR_RETURN(
      auto root, read_json(text, made.file_ + ":", kDepthMax, *made.memory_, JsonNul::taken));
  if (!root.is_object()) return corrupt(made.file_ + ": the JSON is not an object");
  made.root_ = std::make_unique<const boost::json::value>(std::move(root));
  return made;
}

Status TokenizerFile::corrupt_at(std::string_view member, const std::string& why) const {
  return corrupt(file_ + ": " + std::string(member) + " " + why);
}

Status TokenizerFile::unsupported(std::string_view member, const std::string& why) const {
  return invalid(file_ + ": " + std::string(member) + " " + why + " is not supported yet");
}

const boost::json::object* object_in(const boost::json::object& object, std::string_view name) {
  const boost::json::value* found = object.if_contains(name);
  return found == nullptr ? nullptr : found->if_object();
}

const boost::json::array* array_in(const boost::json::object& object, std::string_view name) {
  const boost::json::value* found = object.if_contains(name);
  return found == nullptr ? nullptr : found->if_array();
}

const boost::json::string* string_in(const boost::json::object& object, std::string_view name) {
  const boost::json::value* found = object.if_contains(name);
  return found == nullptr ? nullptr : found->if_string();
}

bool bool_in(const boost::json::object& object, std::string_view name, bool otherwise) {
  const boost::json::value* found = object.if_contains(name);
  return found != nullptr && found->is_bool() ? found->get_bool() : otherwise;
}

bool is_given(const boost::json::object& object, std::string_view name) {
  const boost::json::value* found = object.if_contains(name);
  return found != nullptr && !found->is_null();
}

}  // namespace parkd
