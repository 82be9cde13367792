// The value of a JSON text, apart from how it is written: what a repeated submission is compared
// by.
//
// Two texts have one value when they differ in spaces, in the order of members, in how numbers are
// written (by their exact decimal value: 4, 4.0 and 40e-1) and in how strings are escaped. Of a
// member that is given twice the last counts, as PostgreSQL's jsonb has it; there content_hash_v1
// (migrations/0003) follows the same rules, and tests/store/conformance holds both to them.
// Values, any thread.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace parkd {

class JsonValueText {
 public:
  // Nothing where jsonb has no value either: no JSON, U+0000 or half of a surrogate pair in a
  // string, a number of more than 131,072 places before the point or 16,383 behind it.
  static std::optional<JsonValueText> of(std::string_view text);

  // Of the members of an object; another value has none.
  bool has(std::string_view member) const;
  void drop(std::string_view member);

  // One text for each value. Members are sorted.
  std::string text() const;

 private:
  struct Member {
    std::string name;   // as it is written in text(), with its quotes
    std::string value;  // the same
  };
  class Handler;

  bool is_object_ = false;
  std::vector<Member> members_;  // sorted by name, each once
  std::string other_;            // where it is not an object
};

// The text that programs until 2026-11 stored of it: what Boost.JSON writes of what it reads, of a
// member that is given twice the last. The text itself where it is not JSON.
std::string as_parsed_and_written(std::string_view text);

// Of a number as JSON writes it: its digits without zeros at either end, and the power of ten
// ("-42e-1"). Nothing beyond the places above.
std::optional<std::string> decimal_value(std::string_view number);

}  // namespace parkd
