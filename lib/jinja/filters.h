// Jinja's filters that templates use, as transformers has them (its own tojson). A table, any
// thread; a filter runs on its render's.
#pragma once

#include <string_view>

#include "lib/jinja/runtime.h"

namespace parkd::jinja {

struct Filter {
  std::string_view name;
  NativeFunction call;  // `self` is what the filter stands behind
};

// Null where there is none of that name.
const Filter* find_filter(std::string_view name);
const Filter* find_text_filter(std::string_view name);
const Filter* find_list_filter(std::string_view name);
const Filter* find_value_filter(std::string_view name);

}  // namespace parkd::jinja
