#include "lib/config/yaml_reader.h"

#include <yaml-cpp/eventhandler.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <sstream>

#include "lib/base/json_writer.h"
#include "lib/base/text.h"
#include "lib/config/dsn_text.h"
#include "lib/config/keys.h"

namespace parkd {
namespace {

constexpr int kDepthMax = 32;     // our deepest key has 6 levels
constexpr int kNodesMax = 20000;  // bounds memory; a configuration has a few hundred
constexpr size_t kShownValueBytes = 80;
constexpr size_t kPathBytes = 4096;  // PATH_MAX

// Walks the document's events before a tree is built of them: yaml-cpp has no bound of its own on
// nodes, follows an alias into the node it stands in, and reads on past a first document.
class DocumentGuard final : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t) override { count(mark); }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    count(mark);
    if (std::count(open_.begin(), open_.end(), anchor) > 0) {
      throw YAML::ParserException(mark, "an alias stands inside the node it names");
    }
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t,
                const std::string&) override {
    count(mark);
    check_tag(mark, tag);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor);
  }
  void OnSequenceEnd() override { open_.pop_back(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor);
  }
  void OnMapEnd() override { open_.pop_back(); }

 private:
  void count(const YAML::Mark& mark) {
    if (++n_nodes_ > kNodesMax) {
      throw YAML::ParserException(mark, "more than " + std::to_string(kNodesMax) + " values");
    }
  }
  static void check_tag(const YAML::Mark& mark, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    throw YAML::ParserException(mark, "tags are not supported (found '" + tag + "')");
  }
  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) {
    count(mark);
    check_tag(mark, tag);
    if (open_.size() >= kDepthMax) {
      throw YAML::ParserException(mark, "nested deeper than " + std::to_string(kDepthMax));
    }
    open_.push_back(anchor);
  }

  int n_nodes_ = 0;
  std::vector<YAML::anchor_t> open_;  // anchors of the nodes around this one, 0 = none
};

// The whole of `text` as a number; nullopt when it is none or does not fit.
template <class T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool is_quoted(const YAML::Node& node) {
  return node.Tag() == "!";
}

// Control characters, or bytes that are not UTF-8.
bool has_control(const std::string& text) {
  return !is_valid_utf8(text) || std::any_of(text.begin(), text.end(), [](char c) {
    return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
  });
}

// Replaces ${NAME} by the variable and $${ by ${. Returns why it cannot, or "".
std::string expand_variables(const std::string& text, const ConfigInputs& inputs,
                             std::string& out) {
  for (size_t i = 0; i < text.size();) {
    if (text.compare(i, 3, "$${") == 0) {
      out += "${";
      i += 3;
      continue;
    }
    if (text.compare(i, 2, "${") != 0) {
      out += text[i++];
      continue;
    }
    const size_t end = text.find('}', i);
    if (end == std::string::npos) return "has a ${ without its }";
    const std::string name = text.substr(i + 2, end - i - 2);
    const auto value = inputs.environment(name);
    if (!value || value->empty())
      return "names the environment variable " + name + ", which is not set";
    out += *value;
    i = end + 1;
  }
  return "";
}

// ~ and ~/... become the user's home directory, as a shell has it. Returns why it cannot, or "".
std::string expand_home(const ConfigInputs& inputs, std::string& path) {
  if (path.empty() || path[0] != '~') return "";
  if (path.size() > 1 && path[1] != '/') {
    return "starts with ~ and a name, which is not looked up: write that home directory out (or "
           "./~... for a folder of this name)";
  }
  const auto home = inputs.environment("HOME");
  if (!home || home->empty() || (*home)[0] != '/') {
    return "starts with ~, but the environment variable HOME names no directory: write it out";
  }
  path.replace(0, 1, *home);
  return "";
}

}  // namespace

std::string shown_value(const YAML::Node& node) {
  if (node.IsNull()) return "null";
  if (node.IsSequence()) return "[list]";
  if (node.IsMap()) return "{mapping}";
  const std::string& text = node.Scalar();
  if (!is_quoted(node) && text.size() <= kShownValueBytes &&
      (parse_number<double>(text) || text == "true" || text == "false")) {
    return text;
  }
  std::string cut = text.substr(0, kShownValueBytes);
  const std::string shown =
      json_string(cut.substr(0, cut.size() < text.size() ? valid_utf8_prefix(cut) : cut.size()));
  return cut.size() < text.size() ? shown + "..." : shown;
}

YAML::Node YamlReader::load(std::string_view text) {
  std::istringstream input{std::string(text)};
  YAML::Parser parser(input);
  DocumentGuard guard;
  parser.HandleNextDocument(guard);
  DocumentGuard second;
  if (parser.HandleNextDocument(second)) {
    YAML::Mark start;
    throw YAML::ParserException(start, "more than one YAML document in the file");
  }
  return YAML::Load(std::string(text));
}

void YamlReader::fail(const YAML::Mark& mark, const std::string& key, const std::string& why) {
  if (!status_.ok()) return;
  const YAML::Mark shown = mark.is_null() ? YAML::Mark() : mark;
  status_ = invalid_param(key, file_name_ + ":" + std::to_string(shown.line + 1) + ":" +
                                   std::to_string(shown.column + 1) +
                                   (key.empty() ? ": " : ": key '" + key + "': ") + why);
}

void YamlReader::fail_syntax(std::string_view text, const YAML::Exception& error) {
  if (error.mark.is_null()) return fail(error.mark, "", error.msg);
  size_t start = 0;
  for (int line = 0; line < error.mark.line && start != std::string_view::npos; ++line) {
    start = text.find('\n', start);
    if (start != std::string_view::npos) ++start;
  }
  const std::string_view line = start < text.size() ? text.substr(start) : "";
  const size_t tab = line.substr(0, line.find_first_not_of(" \t")).find('\t');
  if (tab == std::string_view::npos) return fail(error.mark, "", error.msg);
  YAML::Mark mark = error.mark;
  mark.column = static_cast<int>(tab);
  fail(mark, "", "a tab stands in this line's indentation, where YAML takes spaces only");
}

YamlSection::YamlSection(YamlReader& reader, const YAML::Node& node, std::string path,
                         std::string schema)
    : reader_(&reader), path_(std::move(path)), schema_(std::move(schema)) {
  if (!node.IsDefined()) return;
  mark_ = node.Mark();
  if (node.IsNull()) return;
  if (!node.IsMap()) {
    reader.fail(mark_, path_, "value " + shown_value(node) + " is not a mapping of keys");
    return;
  }
  for (const auto& pair : node) add_entry(pair.first, pair.second);
}

void YamlSection::add_entry(const YAML::Node& key, const YAML::Node& value) {
  if (!key.IsScalar()) {
    reader_->fail(key.Mark(), path_, "a key is not a plain word");
    return;
  }
  std::string name = repair_utf8(key.Scalar());
  const std::string full = full_name(name);
  const ConfigKey* known = find_config_key(schema_, name);
  if (known == nullptr) {
    std::string shown = full.size() > kShownValueBytes ? full.substr(0, kShownValueBytes) : full;
    for (char& c : shown) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
    }
    const std::string hint = unknown_key_hint(schema_, name);
    reader_->fail(key.Mark(), repair_utf8(shown),
                  "unknown key" + (hint.empty() ? "" : "; " + hint));
    return;
  }
  if (known->kind == KeyKind::forbidden) {
    reader_->fail(key.Mark(), full, std::string(known->note));
    return;
  }
  const auto [entry, is_new] = entries_.emplace(name, Entry{key.Mark(), value});
  if (!is_new) {
    reader_->fail(
        key.Mark(), full,
        "written twice, first on line " + std::to_string(entry->second.key_mark.line + 1));
  }
}

std::string YamlSection::full_name(std::string_view key) const {
  if (key.empty()) return path_;
  return path_.empty() ? std::string(key) : path_ + "." + std::string(key);
}

const YAML::Node* YamlSection::find(std::string_view key) const {
  const auto entry = entries_.find(std::string(key));
  return entry == entries_.end() ? nullptr : &entry->second.value;
}

bool YamlSection::has_value(std::string_view key) const {
  const YAML::Node* node = find(key);
  return node != nullptr && !node->IsNull();
}

YAML::Mark YamlSection::mark_of(std::string_view key) const {
  const auto entry = entries_.find(std::string(key));
  if (entry == entries_.end()) return mark_;
  // An empty value has its mark where the next token is.
  return entry->second.value.IsNull() ? entry->second.key_mark : entry->second.value.Mark();
}

void YamlSection::fail(std::string_view key, const std::string& why) const {
  reader_->fail(mark_of(key), full_name(key), why);
}

void YamlSection::fail_value(std::string_view key, const std::string& why) const {
  const YAML::Node* node = find(key);
  fail(key, (node == nullptr ? "" : "value " + shown_value(*node) + " ") + why);
}

YamlSection YamlSection::section(std::string_view key, std::string schema) const {
  const YAML::Node* node = find(key);
  const YAML::Node none(YAML::NodeType::Undefined);
  YamlSection child(*reader_, node == nullptr ? none : *node, full_name(key), std::move(schema));
  if (node == nullptr) child.mark_ = mark_;
  return child;
}

const YAML::Node* YamlSection::list(std::string_view key, size_t count_max) const {
  const YAML::Node* node = find(key);
  if (node == nullptr) return nullptr;
  if (!node->IsSequence()) {
    fail_value(key, "is not a list");
    return nullptr;
  }
  if (node->size() > count_max) {
    fail(key, "a list of " + std::to_string(node->size()) + " entries is too long, limit " +
                  std::to_string(count_max));
    return nullptr;
  }
  return node;
}

std::vector<YamlSection> YamlSection::sections(std::string_view key, const std::string& schema,
                                               size_t count_max) const {
  std::vector<YamlSection> result;
  const YAML::Node* node = list(key, count_max);
  if (node == nullptr) return result;
  for (size_t i = 0; i < node->size() && reader_->ok(); ++i) {
    result.emplace_back(*reader_, (*node)[i], full_name(key) + "[" + std::to_string(i) + "]",
                        schema);
  }
  return result;
}

std::optional<std::string> YamlSection::scalar(std::string_view key) const {
  const YAML::Node* node = find(key);
  if (node == nullptr) return std::nullopt;
  if (!node->IsScalar()) {
    fail_value(key, "is not a single value");
    return std::nullopt;
  }
  return node->Scalar();
}

std::optional<std::string> YamlSection::plain_scalar(std::string_view key,
                                                     const std::string& expected) const {
  const YAML::Node* node = find(key);
  if (node == nullptr) return std::nullopt;
  if (!node->IsScalar() || is_quoted(*node)) {
    fail_value(key, "is not " + expected);
    return std::nullopt;
  }
  return node->Scalar();
}

std::optional<int64_t> YamlSection::integer(std::string_view key, int64_t min, int64_t max) const {
  const std::string range = std::to_string(min) + " .. " + std::to_string(max);
  const auto text = plain_scalar(key, "an integer (" + range + ")");
  if (!text) return std::nullopt;
  const auto value = parse_number<int64_t>(*text);
  // A number of digits that int64 cannot hold is out of range, not a wrong type.
  const bool digits = !text->empty() && text->find_first_not_of("0123456789") == std::string::npos;
  if (!value && !digits) {
    fail_value(key, "is not an integer (" + range + ")");
    return std::nullopt;
  }
  if (!value || *value < min || *value > max) {
    fail_value(key, "is out of range (" + range + ")");
    return std::nullopt;
  }
  return value;
}

std::optional<int32_t> YamlSection::integer32(std::string_view key, int32_t min,
                                              int32_t max) const {
  const auto value = integer(key, min, max);
  if (!value) return std::nullopt;
  return static_cast<int32_t>(*value);
}

std::optional<double> YamlSection::number(std::string_view key, double min, double max) const {
  const std::string range = number_text(min) + " .. " + number_text(max);
  const auto text = plain_scalar(key, "a number (" + range + ")");
  if (!text) return std::nullopt;
  const auto value = parse_number<double>(*text);
  if (!value) {
    fail_value(key, "is not a number (" + range + ")");
    return std::nullopt;
  }
  if (!(*value >= min && *value <= max)) {  // in this form NaN fails
    fail_value(key, "is out of range (" + range + ")");
    return std::nullopt;
  }
  return value;
}

std::optional<bool> YamlSection::boolean(std::string_view key) const {
  const auto text = plain_scalar(key, "true or false");
  if (!text) return std::nullopt;
  if (*text == "true") return true;
  if (*text == "false") return false;
  fail_value(key, "is not true or false");
  return std::nullopt;
}

std::optional<std::string> YamlSection::text(std::string_view key, size_t bytes_max) const {
  auto value = scalar(key);
  if (!value) return std::nullopt;
  if (value->empty()) {
    fail_value(key, "is empty");
    return std::nullopt;
  }
  if (value->size() > bytes_max) {
    fail_value(key, "is " + std::to_string(value->size()) + " bytes long, limit " +
                        std::to_string(bytes_max));
    return std::nullopt;
  }
  if (has_control(*value)) {
    fail_value(key, "has control characters or is not UTF-8");
    return std::nullopt;
  }
  return value;
}

std::optional<std::string> YamlSection::path(std::string_view key) const {
  const auto value = text(key, kPathBytes);
  if (!value) return std::nullopt;
  std::string expanded;
  std::string why = expand_variables(*value, reader_->inputs(), expanded);
  if (why.empty()) why = expand_home(reader_->inputs(), expanded);
  if (!why.empty()) {
    fail_value(key, why);
    return std::nullopt;
  }
  if (expanded.size() > kPathBytes) {
    fail_value(key, "expands to " + std::to_string(expanded.size()) + " bytes, limit " +
                        std::to_string(kPathBytes));
    return std::nullopt;
  }
  return expanded;
}

std::optional<std::string> YamlSection::dsn(std::string_view key) const {
  const YAML::Node* node = find(key);
  if (node == nullptr) return std::nullopt;
  std::string why;
  std::string expanded;
  if (!node->IsScalar() || node->Scalar().empty()) {
    why = "is not a connection string";
  } else if (node->Scalar().size() > kPathBytes || has_control(node->Scalar())) {
    why = "is longer than " + std::to_string(kPathBytes) +
          " bytes, has control characters or is not UTF-8";
  } else {
    why = expand_variables(node->Scalar(), reader_->inputs(), expanded);
    if (why.empty()) why = dsn_refusal(expanded);
  }
  if (why.empty()) return expanded;
  fail(key, why);
  return std::nullopt;
}

std::optional<std::vector<int64_t>> YamlSection::integers(std::string_view key,
                                                          size_t count_max) const {
  const YAML::Node* node = list(key, count_max);
  if (node == nullptr) return std::nullopt;
  std::vector<int64_t> values;
  for (const auto& entry : *node) {
    const auto value = entry.IsScalar() && !is_quoted(entry) ? parse_number<int64_t>(entry.Scalar())
                                                             : std::nullopt;
    if (!value) {
      reader_->fail(entry.Mark(), full_name(key),
                    "value " + shown_value(entry) + " is not an integer");
      return std::nullopt;
    }
    values.push_back(*value);
  }
  return values;
}

std::optional<std::vector<std::string>> YamlSection::texts(std::string_view key,
                                                           size_t count_max) const {
  const YAML::Node* node = list(key, count_max);
  if (node == nullptr) return std::nullopt;
  std::vector<std::string> values;
  for (const auto& entry : *node) {
    if (!entry.IsScalar()) {
      reader_->fail(entry.Mark(), full_name(key),
                    "value " + shown_value(entry) + " is not a single value");
      return std::nullopt;
    }
    values.push_back(entry.Scalar());
  }
  return values;
}

std::vector<std::string> YamlSection::text_or_texts(std::string_view key, size_t count_max) const {
  const YAML::Node* node = find(key);
  if (node != nullptr && node->IsScalar()) return {node->Scalar()};
  return texts(key, count_max).value_or(std::vector<std::string>{});
}

std::map<std::string, std::string> YamlSection::text_map(std::string_view key,
                                                         size_t count_max) const {
  std::map<std::string, std::string> values;
  const YAML::Node* node = find(key);
  if (node == nullptr || node->IsNull()) return values;
  if (!node->IsMap()) {
    fail_value(key, "is not a mapping of keys");
    return values;
  }
  if (node->size() > count_max) {
    fail(key, "a mapping of " + std::to_string(node->size()) + " entries is too long, limit " +
                  std::to_string(count_max));
    return values;
  }
  for (const auto& pair : *node) {
    if (!pair.first.IsScalar() || !pair.second.IsScalar()) {
      reader_->fail(pair.first.Mark(), full_name(key), "an entry is not a word: word pair");
      return values;
    }
    if (!values.emplace(pair.first.Scalar(), pair.second.Scalar()).second) {
      reader_->fail(pair.first.Mark(), full_name(key),
                    "entry " + shown_value(pair.first) + " written twice");
      return values;
    }
  }
  return values;
}

}  // namespace parkd
