#include "lib/jinja/filters.h"

namespace parkd::jinja {

const Filter* find_filter(std::string_view name) {
  if (const Filter* found = find_text_filter(name)) return found;
  if (const Filter* found = find_list_filter(name)) return found;
  return find_value_filter(name);
}

}  // namespace parkd::jinja
