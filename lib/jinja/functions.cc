#include "lib/jinja/functions.h"

#include <array>
#include <ctime>

#include "lib/jinja/compare.h"
#include "lib/jinja/lookup.h"
#include "lib/jinja/python_text.h"

namespace parkd::jinja {
namespace {

using Arguments = const CallArguments&;

constexpr int64_t kRangeMax = 100'000;  // as Jinja's sandbox
constexpr size_t kTimeFormatBytesMax = 200;

Value range(Runtime& runtime, const Value&, Arguments arguments) {
  const Bound bound("range", arguments, {"start", "stop", "step"}, 1);
  for (size_t i = 0; i < 3; ++i) {
    if (bound.find(i) != nullptr && !bound.value(i).is_integral()) {
      fail("range takes integers, not " + std::string(type_name(bound.value(i))));
    }
  }
  const bool has_stop = bound.find(1) != nullptr;
  const int64_t first = has_stop ? bound.integer(0, 0) : 0;
  const int64_t last = has_stop ? bound.integer(1, 0) : bound.integer(0, 0);
  const int64_t step = bound.integer(2, 1);
  if (step == 0) fail("the step of range is 0");
  std::vector<Value> items;
  for (int64_t at = first; step > 0 ? at < last : at > last;) {
    if (static_cast<int64_t>(items.size()) == kRangeMax) {
      fail_limit("makes a range of more than " + std::to_string(kRangeMax) + " items");
    }
    items.push_back(Value::integer(at));
    if (__builtin_add_overflow(at, step, &at)) break;
  }
  return runtime.sequence(Type::range, std::move(items));
}

// dict(pairs or a dict, name=value, ...)
std::vector<std::pair<Value, Value>> entries_of(Runtime& runtime, Arguments arguments,
                                                std::string_view callee) {
  std::vector<std::pair<Value, Value>> entries;
  const auto put = [&](const Value& key, const Value& value) {
    for (auto& [known, old] : entries) {
      if (!is_equal(runtime, known, key)) continue;
      old = value;
      return;
    }
    runtime.charge_items(1);
    entries.emplace_back(key, value);
  };
  if (arguments.positional.size() > 1) fail(std::string(callee) + " takes at most 1 argument");
  for (const Value& given : arguments.positional) {
    if (given.is_dict()) {
      entries = given.as_dict().entries;
      continue;
    }
    for (const Value& pair : items_of(runtime, given)->items) {
      const auto two = items_of(runtime, pair);
      if (two->items.size() != 2) fail(std::string(callee) + " takes pairs of a key and a value");
      put(two->items[0], two->items[1]);
    }
  }
  for (const auto& [word, value] : arguments.named) {
    put(runtime.text(std::string(word), arguments.names), value);
  }
  return entries;
}

Value dict(Runtime& runtime, const Value&, Arguments arguments) {
  return runtime.dict(entries_of(runtime, arguments, "dict"));
}

Value new_namespace(Runtime& runtime, const Value&, Arguments arguments) {
  Value made = runtime.space();
  for (auto& [key, value] : entries_of(runtime, arguments, "namespace")) {
    if (!key.is_text()) fail("the attributes of a namespace have names");
    if (key.as_bytes().substr(0, 1) == "_") fail("a namespace has no attributes that begin with _");
    made.as_space().attributes.emplace_back(key.as_bytes(), std::move(value));
  }
  return made;
}

Value raise_exception(Runtime& runtime, const Value&, Arguments arguments) {
  const Bound bound("raise_exception", arguments, {"message"}, 1);
  throw Fault{Fault::Kind::raised, str_of(runtime, bound.value(0)).bytes(), 0};
}

Value strftime_now(Runtime& runtime, const Value&, Arguments arguments) {
  const Bound bound("strftime_now", arguments, {"format"}, 1);
  const Text& format = bound.text(0);
  if (format.size() > kTimeFormatBytesMax) {
    fail_limit("has a time format of more than " + std::to_string(kTimeFormatBytesMax) + " bytes");
  }
  std::string known;  // without what Python knows of a time without a zone
  for (size_t i = 0; i < format.size(); ++i) {
    const std::string_view code = std::string_view(format.bytes()).substr(i, 2);
    if (code == "%f") {
      known += "000000";
    } else if (code == "%s") {
      fail("%s in a time format is not supported");
    } else if (code == "%%") {
      known += code;
    } else if (code != "%z" && code != "%Z") {
      known += format.bytes()[i];
      continue;
    }
    ++i;
  }
  const std::time_t now = runtime.now().time_since_epoch().count();
  std::tm utc{};
  gmtime_r(&now, &utc);
  std::array<char, 4096> out{};
  const size_t size = std::strftime(out.data(), out.size(), known.c_str(), &utc);
  return runtime.text(std::string(out.data(), size), format.origin());
}

constexpr NamedFunction kFunctions[] = {
    {"dict", dict},   {"namespace", new_namespace},   {"raise_exception", raise_exception},
    {"range", range}, {"strftime_now", strftime_now},
};

}  // namespace

std::span<const NamedFunction> functions() {
  return kFunctions;
}

}  // namespace parkd::jinja
