// Methods of dict, list and tuple, and which methods there are in Python.
#include <algorithm>
#include <array>

#include "lib/jinja/compare.h"
#include "lib/jinja/lookup.h"
#include "lib/jinja/methods.h"

namespace parkd::jinja {
namespace {

using Arguments = const CallArguments&;

Value get(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("get", arguments, {"key", "default"}, 1);
  if (const Value* entry = find_entry(runtime, self.as_dict(), bound.value(0))) return *entry;
  return bound.find(1) != nullptr ? bound.value(1) : Value::none();
}

Value view(Runtime& runtime, std::string_view name, std::vector<Value> items) {
  Value made = runtime.sequence(Type::view, std::move(items));
  static_cast<Sequence*>(made.shared().get())->view_name = name;
  return made;
}

Value items(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("items", arguments, {}, 0);
  std::vector<Value> pairs;
  for (const auto& [key, value] : self.as_dict().entries) {
    pairs.push_back(runtime.sequence(Type::tuple, {key, value}));
  }
  return view(runtime, "dict_items", std::move(pairs));
}

Value keys(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("keys", arguments, {}, 0);
  std::vector<Value> all;
  for (const auto& entry : self.as_dict().entries) all.push_back(entry.first);
  return view(runtime, "dict_keys", std::move(all));
}

Value values(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("values", arguments, {}, 0);
  std::vector<Value> all;
  for (const auto& entry : self.as_dict().entries) all.push_back(entry.second);
  return view(runtime, "dict_values", std::move(all));
}

Value copy(Runtime&, const Value& self, Arguments arguments) {
  const Bound bound("copy", arguments, {}, 0);
  return self;  // neither can be changed
}

Value count(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("count", arguments, {"value"}, 1);
  const auto& all = self.as_sequence().items;
  return Value::integer(std::count_if(all.begin(), all.end(), [&](const Value& item) {
    return is_equal(runtime, item, bound.value(0));
  }));
}

Value index(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("index", arguments, {"value"}, 1);
  const auto& all = self.as_sequence().items;
  const auto found = std::find_if(all.begin(), all.end(), [&](const Value& item) {
    return is_equal(runtime, item, bound.value(0));
  });
  if (found == all.end()) fail("index: the value is not in the list");
  return Value::integer(found - all.begin());
}

constexpr Method kDictMethods[] = {
    {"copy", copy}, {"get", get}, {"items", items}, {"keys", keys}, {"values", values}};
constexpr Method kListMethods[] = {{"copy", copy}, {"count", count}, {"index", index}};
constexpr Method kTupleMethods[] = {{"count", count}, {"index", index}};

constexpr std::string_view kDictChanges[] = {"clear", "pop", "popitem", "setdefault", "update"};
constexpr std::string_view kListChanges[] = {"append", "clear",  "extend",  "insert",
                                             "pop",    "remove", "reverse", "sort"};
constexpr std::string_view kTextMethods[] = {
    "casefold",  "center",  "encode",       "expandtabs",  "format_map", "isalnum",
    "isalpha",   "isascii", "isidentifier", "isprintable", "istitle",    "ljust",
    "maketrans", "rindex",  "rjust",        "swapcase",    "translate",  "zfill"};
constexpr std::string_view kNumberMethods[] = {
    "as_integer_ratio", "bit_count", "bit_length", "conjugate",
    "denominator",      "fromhex",   "hex",        "imag",
    "is_integer",       "numerator", "real",       "to_bytes"};

template <class Words>
bool is_among(const Words& words, std::string_view name) {
  return std::find(std::begin(words), std::end(words), name) != std::end(words);
}

template <size_t n>
const Method* find_in(const Method (&methods)[n], std::string_view name) {
  for (const Method& method : methods) {
    if (method.name == name) return &method;
  }
  return nullptr;
}

}  // namespace

const Method* find_container_method(Type type, std::string_view name) {
  if (type == Type::dict) return find_in(kDictMethods, name);
  if (type == Type::list) return find_in(kListMethods, name);
  if (type == Type::tuple || type == Type::range) return find_in(kTupleMethods, name);
  return nullptr;
}

const Method* find_method(Type type, std::string_view name) {
  return type == Type::text ? find_text_method(name) : find_container_method(type, name);
}

bool changes_value(Type type, std::string_view name) {
  if (type == Type::dict) return is_among(kDictChanges, name);
  return type == Type::list && is_among(kListChanges, name);
}

bool is_unsupported_method(Type type, std::string_view name) {
  if (type == Type::text) return is_among(kTextMethods, name);
  if (type == Type::dict) return name == "fromkeys";
  const bool is_number = type == Type::integer || type == Type::real || type == Type::boolean;
  return is_number && is_among(kNumberMethods, name);
}

}  // namespace parkd::jinja
