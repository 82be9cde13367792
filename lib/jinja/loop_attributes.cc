#include "lib/jinja/loop_attributes.h"

#include "lib/jinja/compare.h"

namespace parkd::jinja {
namespace {

Value cycle(Runtime&, const Value& self, const CallArguments& arguments) {
  if (arguments.positional.empty() || !arguments.named.empty()) {
    fail("loop.cycle needs at least one value");
  }
  return arguments.positional[self.as_loop().index0 % arguments.positional.size()];
}

Value changed(Runtime& runtime, const Value& self, const CallArguments& arguments) {
  Loop& loop = self.as_loop();
  const Value now = runtime.sequence(Type::tuple, arguments.positional);
  const bool is_changed = !loop.last_checked || !is_equal(runtime, *loop.last_checked, now);
  if (!loop.is_over) loop.last_checked = now;
  return Value::boolean(is_changed);
}

}  // namespace

std::optional<Value> loop_attribute(Runtime&, const Value& value, std::string_view name) {
  const Loop& loop = value.as_loop();
  const auto& items = loop.all();
  const auto index = static_cast<int64_t>(loop.index0);
  const auto length = static_cast<int64_t>(items.size());
  if (name == "index0") return Value::integer(index);
  if (name == "index") return Value::integer(index + 1);
  if (name == "first") return Value::boolean(index == 0);
  if (name == "last") return Value::boolean(index + 1 == length);
  if (name == "length") return Value::integer(length);
  if (name == "revindex") return Value::integer(length - index);
  if (name == "revindex0") return Value::integer(length - index - 1);
  if (name == "depth") return Value::integer(1);
  if (name == "depth0") return Value::integer(0);
  if (name == "previtem") {
    return index > 0 ? items[loop.index0 - 1] : Value::undefined("there is no previous item");
  }
  if (name == "nextitem") {
    return index + 1 < length ? items[loop.index0 + 1] : Value::undefined("there is no next item");
  }
  if (name == "cycle") return native_function("cycle", cycle, value);
  if (name == "changed") return native_function("changed", changed, value);
  return std::nullopt;
}

}  // namespace parkd::jinja
