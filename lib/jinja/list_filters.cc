// Filters that walk over their subject.
#include <algorithm>
#include <iterator>
#include <optional>

#include "lib/jinja/compare.h"
#include "lib/jinja/filters.h"
#include "lib/jinja/lookup.h"
#include "lib/jinja/operators.h"
#include "lib/jinja/python_text.h"
#include "lib/jinja/tests.h"
#include "lib/jinja/text_work.h"

namespace parkd::jinja {
namespace {

using Arguments = const CallArguments&;

Value generator(Runtime& runtime, std::vector<Value> items) {
  return runtime.sequence(Type::generator, std::move(items));
}

// The argument of that place, where it is given and not None.
const Value* given(const Bound& bound, size_t i) {
  return bound.find(i) == nullptr || bound.value(i).is_none() ? nullptr : bound.find(i);
}

// What a value is compared by: an attribute of it, its letters in one case.
Value key_of(Runtime& runtime, const Value& value, const Value* attribute, bool case_sensitive) {
  Value key = attribute == nullptr ? value : get_path(runtime, value, *attribute);
  if (!case_sensitive && key.is_text()) return runtime.text(with_lower(runtime, key.as_text()));
  return key;
}

std::vector<Value> sorted(Runtime& runtime, const std::vector<Value>& items,
                          const std::vector<Value>& keys, bool reverse) {
  std::vector<size_t> order(items.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return reverse ? is_less(runtime, keys[b], keys[a]) : is_less(runtime, keys[a], keys[b]);
  });
  std::vector<Value> out;
  for (const size_t i : order) out.push_back(items[i]);
  return out;
}

Value sort(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("sort", arguments, {"reverse", "case_sensitive", "attribute"}, 0);
  const bool case_sensitive = bound.flag(1, false);
  const Value* attribute = given(bound, 2);
  const auto items = items_of(runtime, self);
  std::vector<Value> keys;
  for (const Value& item : items->items) {
    if (attribute == nullptr || !attribute->is_text() ||
        attribute->as_bytes().find(',') == std::string::npos) {
      keys.push_back(key_of(runtime, item, attribute, case_sensitive));
      continue;
    }
    std::vector<Value> several;  // "age,name"
    const std::string& words = attribute->as_bytes();
    for (size_t first = 0; first <= words.size();) {
      const size_t comma = std::min(words.find(',', first), words.size());
      const Value word = runtime.text(words.substr(first, comma - first), Origin::literal);
      several.push_back(key_of(runtime, item, &word, case_sensitive));
      first = comma + 1;
    }
    keys.push_back(runtime.list(std::move(several)));
  }
  return runtime.list(sorted(runtime, items->items, keys, bound.flag(0, false)));
}

Value dictsort(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("dictsort", arguments, {"case_sensitive", "by", "reverse"}, 0);
  const bool case_sensitive = bound.flag(0, false);
  const std::string by = bound.find(1) == nullptr ? "key" : bound.text(1).bytes();
  if (by != "key" && by != "value") fail("dictsort: 'by' must be \"key\" or \"value\"");
  if (self.is_undefined()) fail_undefined(self);
  if (!self.is_dict())
    fail("dictsort: the value is " + std::string(type_name(self)) + ", not dict");
  std::vector<Value> pairs;
  std::vector<Value> keys;
  for (const auto& [key, value] : self.as_dict().entries) {
    keys.push_back(key_of(runtime, by == "key" ? key : value, nullptr, case_sensitive));
    pairs.push_back(runtime.sequence(Type::tuple, {key, value}));
  }
  return runtime.list(sorted(runtime, pairs, keys, bound.flag(2, false)));
}

Value unique(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("unique", arguments, {"case_sensitive", "attribute"}, 0);
  std::vector<Value> keys;
  std::vector<Value> out;
  for (const Value& item : items_of(runtime, self)->items) {
    const Value key = key_of(runtime, item, given(bound, 1), bound.flag(0, false));
    if (std::any_of(keys.begin(), keys.end(),
                    [&](const Value& other) { return is_equal(runtime, other, key); })) {
      continue;
    }
    keys.push_back(key);
    out.push_back(item);
  }
  return generator(runtime, std::move(out));
}

template <bool greatest>
Value extreme(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound(greatest ? "max" : "min", arguments, {"case_sensitive", "attribute"}, 0);
  std::optional<Value> best;
  std::optional<Value> best_key;
  for (const Value& item : items_of(runtime, self)->items) {
    const Value key = key_of(runtime, item, given(bound, 1), bound.flag(0, false));
    if (best_key &&
        !(greatest ? is_less(runtime, *best_key, key) : is_less(runtime, key, *best_key))) {
      continue;
    }
    best = item;
    best_key = key;
  }
  return best ? *best : Value::undefined("No aggregated item, sequence was empty.");
}

Value sum(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("sum", arguments, {"attribute", "start"}, 0);
  Value total = bound.find(1) == nullptr ? Value::integer(0) : bound.value(1);
  const Value* attribute = given(bound, 0);
  for (const Value& item : items_of(runtime, self)->items) {
    total = apply(runtime, Operator::add, total,
                  attribute == nullptr ? item : get_path(runtime, item, *attribute));
  }
  return total;
}

Value first(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("first", arguments, {}, 0);
  const auto items = items_of(runtime, self);
  if (items->items.empty()) return Value::undefined("No first item, sequence was empty.");
  return items->items.front();
}

Value last(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("last", arguments, {}, 0);
  if (self.is(Type::generator)) fail("'generator' object is not reversible");
  const auto items = items_of(runtime, self);
  if (items->items.empty()) return Value::undefined("No last item, sequence was empty.");
  return items->items.back();
}

Value reverse(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("reverse", arguments, {}, 0);
  std::vector<Value> items = items_of(runtime, self)->items;
  std::reverse(items.begin(), items.end());
  if (!self.is_text()) return generator(runtime, std::move(items));
  return runtime.text(joined(runtime, Text(), items));
}

Value list(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("list", arguments, {}, 0);
  return runtime.list(items_of(runtime, self)->items);
}

Value join(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("join", arguments, {"d", "attribute"}, 0);
  const Text separator = bound.find(0) == nullptr ? Text() : str_of(runtime, bound.value(0));
  const auto items = items_of(runtime, self);
  const Value* attribute = given(bound, 1);
  if (attribute == nullptr) return runtime.text(joined(runtime, separator, items->items));
  std::vector<Value> of;
  for (const Value& item : items->items) of.push_back(get_path(runtime, item, *attribute));
  return runtime.text(joined(runtime, separator, of));
}

Value batch(Runtime& runtime, const Value& self, Arguments arguments) {
  const Bound bound("batch", arguments, {"linecount", "fill_with"}, 1);
  const int64_t size = bound.integer(0, 1);
  if (size < 1) fail("batch: 'linecount' must be at least 1");
  std::vector<Value> rows;
  std::vector<Value> row;
  for (const Value& item : items_of(runtime, self)->items) {
    row.push_back(item);
    if (static_cast<int64_t>(row.size()) == size)
      rows.push_back(runtime.list(std::exchange(row, {})));
  }
  if (!row.empty()) {
    if (given(bound, 1) != nullptr) {
      runtime.charge_items(static_cast<size_t>(size));
      row.resize(static_cast<size_t>(size), bound.value(1));
    }
    rows.push_back(runtime.list(std::move(row)));
  }
  return generator(runtime, std::move(rows));
}

Value map(Runtime& runtime, const Value& self, Arguments arguments) {
  const Value* attribute = nullptr;
  const Value* otherwise = nullptr;
  for (const auto& [word, value] : arguments.named) {
    if (word == "attribute") attribute = &value;
    if (word == "default" && !value.is_none()) otherwise = &value;
  }
  std::vector<Value> out;
  if (!is_true(self)) return generator(runtime, std::move(out));  // None, too
  const auto items = items_of(runtime, self);
  if (attribute != nullptr) {
    for (const Value& item : items->items) {
      out.push_back(get_path(runtime, item, *attribute, otherwise));
    }
    return generator(runtime, std::move(out));
  }
  if (arguments.positional.empty() || !arguments.positional[0].is_text()) {
    fail("map needs the name of a filter, or an attribute");
  }
  const std::string& name = arguments.positional[0].as_bytes();
  const Filter* filter = find_filter(name);
  if (filter == nullptr) fail("no filter is named '" + name.substr(0, 40) + "'");
  CallArguments rest = arguments;
  rest.positional.erase(rest.positional.begin());
  const Budget::Level level(runtime.budget);  // map('map', 'map', ...)
  for (const Value& item : items->items) out.push_back(filter->call(runtime, item, rest));
  return generator(runtime, std::move(out));
}

// select, reject, selectattr, rejectattr.
template <bool of_attribute, bool keeps>
Value choose(Runtime& runtime, const Value& self, Arguments arguments) {
  CallArguments rest = arguments;
  const auto take = [&] {
    Value taken = rest.positional.front();
    rest.positional.erase(rest.positional.begin());
    return taken;
  };
  Value attribute;
  if (of_attribute) {
    if (rest.positional.empty()) fail("selectattr and rejectattr need the name of an attribute");
    attribute = take();
  }
  const Test* test = nullptr;
  if (!rest.positional.empty()) {
    const Value name = take();
    test = name.is_text() ? find_test(name.as_bytes()) : nullptr;
    if (test == nullptr) {
      fail("no test is named " + repr_of(runtime, name).substr(0, 40));
    }
  }
  std::vector<Value> out;
  if (!is_true(self)) return generator(runtime, std::move(out));  // None, too
  for (const Value& item : items_of(runtime, self)->items) {
    const Value of = of_attribute ? get_path(runtime, item, attribute) : item;
    const bool holds = test == nullptr ? is_true(of) : test->call(runtime, of, rest);
    if (holds == keeps) out.push_back(item);
  }
  return generator(runtime, std::move(out));
}

constexpr Filter kFilters[] = {
    {"batch", batch},
    {"dictsort", dictsort},
    {"first", first},
    {"join", join},
    {"last", last},
    {"list", list},
    {"map", map},
    {"max", extreme<true>},
    {"min", extreme<false>},
    {"reject", choose<false, false>},
    {"rejectattr", choose<true, false>},
    {"reverse", reverse},
    {"select", choose<false, true>},
    {"selectattr", choose<true, true>},
    {"sort", sort},
    {"sum", sum},
    {"unique", unique},
};

}  // namespace

const Filter* find_list_filter(std::string_view name) {
  const auto found = std::find_if(std::begin(kFilters), std::end(kFilters),
                                  [&](const Filter& filter) { return filter.name == name; });
  return found == std::end(kFilters) ? nullptr : found;
}

}  // namespace parkd::jinja
