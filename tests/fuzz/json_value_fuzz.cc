// The text of a value is JSON of the same value, and what strict reading takes has a value.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "lib/base/json_reader.h"
#include "lib/base/json_value_text.h"
#include "lib/base/raw_json.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto value = parkd::JsonValueText::of(text);
  if (value) {
    const auto again = parkd::JsonValueText::of(value->text());
    if (!again || again->text() != value->text()) std::abort();
  }
  parkd::JsonMemory memory(size);
  const auto read = parkd::read_json(text, "it", 64, memory);
  if (!read.ok()) {
    const parkd::Status why = read.status();
    if (why.message().empty() || why.message().size() > 1000) std::abort();
    return 0;
  }
  // A number behind 16,383 places is one to a double alone.
  const auto taken = parkd::JsonValueText::of(parkd::without_mark(text));
  if (!taken || !read->is_object()) return 0;
  // Members taken out and put in again are the same members.
  parkd::RawObject object(parkd::without_mark(text));
  object.set("a member that is new", "1");
  object.erase("a member that is new");
  const auto rewritten = parkd::JsonValueText::of(object.text());
  if (!rewritten || rewritten->text() != taken->text()) std::abort();
  return 0;
}
