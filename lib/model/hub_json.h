// A directory's JSON files, read member by member with errors that name the file, the field, its
// value and its limits. One thread.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/json_memory.h"
#include "lib/base/status.h"
#include "lib/weights/model_folder.h"

namespace parkd {

// An object, and the memory that its values lie in.
struct JsonFile {
  std::string_view name;
  std::unique_ptr<JsonMemory> memory;
  boost::json::value value;
};

// A file that the directory has. Errors: invalid (no JSON, too large), corrupt (no object).
Result<JsonFile> read_json_file(const ModelFolder& folder, std::string_view name);

// The members of one object of a file; one that is null is one that is left out. Errors of all:
// corrupt. The object must outlive it.
class JsonFields {
 public:
  JsonFields(const ModelFolder& folder, std::string_view file, const boost::json::object& object,
             std::string prefix)
      : folder_(&folder), file_(file), object_(&object), prefix_(std::move(prefix)) {}
  JsonFields(const ModelFolder& folder, const JsonFile& file)
      : JsonFields(folder, file.name, file.value.get_object(), "") {}

  const boost::json::value* find(std::string_view name) const;
  bool has(std::string_view name) const { return find(name) != nullptr; }
  const boost::json::object& members() const { return *object_; }

  // A whole number of [low, high].
  Result<int32_t> integer(std::string_view name, int64_t low, int64_t high) const;
  Result<int32_t> integer_or(std::string_view name, int64_t low, int64_t high,
                             int32_t otherwise) const;
  Result<double> number_or(std::string_view name, double low, double high, double otherwise) const;
  // `n` numbers of [low, high].
  Result<std::vector<float>> numbers(std::string_view name, size_t n, double low,
                                     double high) const;
  Result<bool> flag_or(std::string_view name, bool otherwise) const;
  Result<std::string> word_or(std::string_view name, std::string_view otherwise) const;
  // The object of that name; none where it is left out.
  Result<std::optional<JsonFields>> object(std::string_view name) const;

  // invalid: "FILE: FIELD what".
  Status unsupported(std::string_view name, const std::string& what) const;
  // corrupt: "FILE: what".
  Status damaged(const std::string& what) const;
  // The value as JSON, cut.
  std::string shown(std::string_view name) const;

 private:
  std::string field(std::string_view name) const { return prefix_ + std::string(name); }

  const ModelFolder* folder_;
  std::string_view file_;
  const boost::json::object* object_;
  std::string prefix_;  // "text_config."
};

}  // namespace parkd
