// Reading one YAML document with errors that name file, line, column, key, value and limit.
//
// Private to lib/config: the only header that shows yaml-cpp. A YamlReader keeps the first error; a
// getter that fails records it and answers "left out", so sections read straight through and the
// caller looks at status() once. Used by one thread, for the length of one parse.
#pragma once

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lib/base/status.h"
#include "lib/config/config.h"

namespace parkd {

// A word of an enumeration and the value it stands for; a word with a reason is refused with it.
template <class T>
struct Word {
  std::string_view text;
  T value{};
  std::string_view refused = "";
};

class YamlReader {
 public:
  YamlReader(std::string file_name, const ConfigInputs& inputs)
      : file_name_(std::move(file_name)), inputs_(inputs) {}

  // Guards (depth, number of nodes, one document, no alias into itself), then the document's root.
  // Throws YAML::Exception on bad syntax.
  YAML::Node load(std::string_view text);

  bool ok() const { return status_.ok(); }
  const Status& status() const { return status_; }
  const ConfigInputs& inputs() const { return inputs_; }

  // Records "FILE:LINE:COLUMN: key 'KEY': WHY" unless something is recorded already.
  void fail(const YAML::Mark& mark, const std::string& key, const std::string& why);
  // The same of text that yaml-cpp could not read; a tab in that line's indentation is named.
  void fail_syntax(std::string_view text, const YAML::Exception& error);

 private:
  const std::string file_name_;
  const ConfigInputs& inputs_;
  Status status_;
};

// One mapping of the document. An absent section reads like an empty one.
class YamlSection {
 public:
  // `path` is the section's name in messages ("models[0].params"), `schema` its name in the key
  // table ("models[].params"). Records unknown, forbidden and repeated keys.
  YamlSection(YamlReader& reader, const YAML::Node& node, std::string path, std::string schema);

  YamlSection section(std::string_view key, std::string schema) const;
  // The mappings of a list; at most `count_max`.
  std::vector<YamlSection> sections(std::string_view key, const std::string& schema,
                                    size_t count_max) const;

  bool has(std::string_view key) const { return entries_.count(std::string(key)) > 0; }
  // Present and not null.
  bool has_value(std::string_view key) const;

  // Each: nullopt when left out or wrong (and then recorded). Bounds are inclusive.
  std::optional<int64_t> integer(std::string_view key, int64_t min, int64_t max) const;
  std::optional<int32_t> integer32(std::string_view key, int32_t min, int32_t max) const;
  std::optional<double> number(std::string_view key, double min, double max) const;
  std::optional<bool> boolean(std::string_view key) const;
  // Not empty, at most `bytes_max` bytes.
  std::optional<std::string> text(std::string_view key, size_t bytes_max) const;
  // A text in which ${NAME} stands for an environment variable and $${ for a literal ${.
  std::optional<std::string> path(std::string_view key) const;
  // A libpq connection string, variables as in path(). Refused when it holds a password; messages
  // never show its value.
  std::optional<std::string> dsn(std::string_view key) const;
  std::optional<std::vector<int64_t>> integers(std::string_view key, size_t count_max) const;
  std::optional<std::vector<std::string>> texts(std::string_view key, size_t count_max) const;
  // The same, where a text alone stands for a list of one; empty when left out or wrong.
  std::vector<std::string> text_or_texts(std::string_view key, size_t count_max) const;
  std::map<std::string, std::string> text_map(std::string_view key, size_t count_max) const;

  template <class T>
  std::optional<T> word(std::string_view key, std::span<const Word<T>> words) const {
    const std::optional<std::string> given = scalar(key);
    if (!given) return std::nullopt;
    std::string allowed;
    for (const Word<T>& w : words) {
      if (w.text == *given) {
        if (w.refused.empty()) return w.value;
        fail_value(key, "is " + std::string(w.refused));
        return std::nullopt;
      }
      if (w.refused.empty()) allowed += (allowed.empty() ? "" : ", ") + std::string(w.text);
    }
    fail_value(key, "is none of " + allowed);
    return std::nullopt;
  }

  // Records an error at this key (at the section when the key is left out). With the value shown:
  // "value X WHY".
  void fail(std::string_view key, const std::string& why) const;
  void fail_value(std::string_view key, const std::string& why) const;

 private:
  struct Entry {
    YAML::Mark key_mark;
    YAML::Node value;
  };

  std::string full_name(std::string_view key) const;
  YAML::Mark mark_of(std::string_view key) const;
  const YAML::Node* find(std::string_view key) const;
  // The scalar of a key, as written; records it when it is null, a list or a mapping.
  std::optional<std::string> scalar(std::string_view key) const;
  // The same, but a quoted text is refused: `expected` says what is wanted.
  std::optional<std::string> plain_scalar(std::string_view key, const std::string& expected) const;
  const YAML::Node* list(std::string_view key, size_t count_max) const;
  void add_entry(const YAML::Node& key, const YAML::Node& value);

  YamlReader* reader_;
  std::string path_;
  std::string schema_;
  YAML::Mark mark_;
  std::map<std::string, Entry> entries_;
};

// A value as messages show it: numbers and words as they are, other text quoted and cut.
std::string shown_value(const YAML::Node& node);

}  // namespace parkd
