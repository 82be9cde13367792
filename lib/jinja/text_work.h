// What methods and filters do with texts: each keeps where its bytes come from. One thread.
#pragma once

#include <string_view>
#include <vector>

#include "lib/jinja/runtime.h"

namespace parkd::jinja {

enum class Sides { left, right, both };

// str.strip; without `characters` of blanks.
Text stripped(const Text& text, Sides sides, const Text* characters);
// str.replace; n_max < 0: all.
Text replaced(Runtime& runtime, const Text& text, const Text& from, const Text& to, int64_t n_max);
Text with_upper(Runtime& runtime, const Text& text);
Text with_lower(Runtime& runtime, const Text& text);
Text capitalized(Runtime& runtime, const Text& text);
// The title filter's (words begin behind blanks, hyphens and brackets) and str.title's.
Text titled(Runtime& runtime, const Text& text, bool as_method);
// str.splitlines.
std::vector<Text> lines_of(Runtime& runtime, const Text& text, bool keep_ends);
// "{} {name}".format(...)
Text formatted(Runtime& runtime, const Text& format, const CallArguments& arguments);
Text joined(Runtime& runtime, const Text& separator, const std::vector<Value>& items);

}  // namespace parkd::jinja
