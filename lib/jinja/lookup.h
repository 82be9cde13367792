// a.b, a[b], a[b:c:d], and walking over a value: as Jinja's sandbox has them, where a method comes
// before an entry for a.b, an entry before a method for a[b], and what would change a value or
// begins with _ cannot be had. Throws Fault. One thread.
#pragma once

#include <memory>
#include <string_view>

#include "lib/jinja/runtime.h"

namespace parkd::jinja {

Value get_attribute(Runtime& runtime, const Value& value, std::string_view name);
Value get_item(Runtime& runtime, const Value& value, const Value& key);
Value get_slice(Runtime& runtime, const Value& value, const Value& first, const Value& last,
                const Value& step);

// What `for` walks over: items, keys, code points. A generator is used up by it.
std::shared_ptr<const Sequence> items_of(Runtime& runtime, const Value& value);

// "a.b.0" of map(attribute=...), selectattr and the like. `otherwise` stands for each part that is
// not there.
Value get_path(Runtime& runtime, const Value& value, std::string_view path,
               const Value* otherwise = nullptr);
Value get_path(Runtime& runtime, const Value& value, const Value& path,
               const Value* otherwise = nullptr);

// len(value).
size_t length_of(Runtime& runtime, const Value& value);

}  // namespace parkd::jinja
