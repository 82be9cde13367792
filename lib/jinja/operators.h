// Python's operators on values. Each throws Fault where Python has no answer. One thread.
#pragma once

#include "lib/jinja/runtime.h"
#include "lib/jinja/syntax.h"

namespace parkd::jinja {

Value apply(Runtime& runtime, Operator op, const Value& a, const Value& b);
bool compare(Runtime& runtime, Operator op, const Value& a, const Value& b);
Value negate(const Value& value);
// "%s of %d" % values: a tuple, a dict or one value.
Text printf_text(Runtime& runtime, const Text& format, const Value& values);
// & < > ' " as HTML has them; of what is markup already nothing.
Text escaped(const Text& text);

}  // namespace parkd::jinja
