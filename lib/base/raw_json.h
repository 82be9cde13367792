// Pieces of JSON text as they stand, so that what is stored and passed on keeps its own bytes,
// numbers included. For text that a parser has accepted (json_reader.h): what is found in another
// is some part of it. Where a member is given twice the first is found.
// Pure functions and values, any thread.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace parkd {

// The text of the object's member; "null" when there is none.
std::string_view raw_member(std::string_view object, std::string_view key);

std::vector<std::string_view> raw_elements(std::string_view array);

// Walks over the elements of an array and keeps none; the text must outlive it. Of what is not an
// array there are none.
class RawElements {
 public:
  explicit RawElements(std::string_view array);
  std::optional<std::string_view> next();  // nothing behind the last

 private:
  std::string_view array_;
  size_t at_;
};

// Where the value ends that begins at `at`, of any text: behind `at` and in the text or at its end,
// where it is not complete.
size_t raw_value_end(std::string_view text, size_t at = 0);

// An object whose members are put in and taken out as text; what is not touched keeps its bytes.
class RawObject {
 public:
  RawObject() = default;
  explicit RawObject(std::string_view object);

  bool contains(std::string_view key) const;
  std::string_view get(std::string_view key) const;  // "null" when there is none
  // Takes the member's place, or stands behind the others. `json` is a whole JSON text.
  void set(std::string_view key, std::string_view json);
  void set_text(std::string_view key, std::string_view text);  // as a JSON string
  void erase(std::string_view key);
  // The text it was made of, where nothing was set or erased.
  std::string text() const;

 private:
  struct Member {
    std::string key;      // unescaped
    std::string written;  // with its quotes
    std::string json;
  };
  const Member* find(std::string_view key) const;

  std::string original_;
  bool is_changed_ = true;
  std::vector<Member> members_;
};

}  // namespace parkd
