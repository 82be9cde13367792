// Python's ==, < and `in`. Each throws Fault where Python has no answer. One thread.
#pragma once

#include "lib/jinja/runtime.h"

namespace parkd::jinja {

bool is_equal(Runtime& runtime, const Value& a, const Value& b);
bool is_less(Runtime& runtime, const Value& a, const Value& b);
// item in container
bool is_in(Runtime& runtime, const Value& item, const Value& container);
// The entry of that key; null where there is none.
const Value* find_entry(Runtime& runtime, const Dict& dict, const Value& key);
const Value* find_entry(Runtime& runtime, const Dict& dict, std::string_view key);
[[noreturn]] void fail_undefined(const Value& value);

}  // namespace parkd::jinja
