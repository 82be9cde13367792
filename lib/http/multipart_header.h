// What of a header's text multipart/form-data needs (RFC 7578): a value with its parameters, the
// header of a part. Pure, any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/base/status.h"

namespace parkd {

struct MultipartPart {
  std::string name;  // of the form's field
  std::string filename;
  bool has_filename = false;
  std::string content_type;  // as it stands; empty: none was given
};

// "form-data; name=a; filename=b" (RFC 9110, 5.6.6).
struct HeaderValue {
  std::string word;                                             // in lower case
  std::vector<std::pair<std::string, std::string>> parameters;  // names in lower case, no two alike

  std::optional<std::string> find(std::string_view name) const;
};

// Whether `text` is letters and digits of ASCII and `marks`, at least one.
bool consists_of(std::string_view text, std::string_view marks);

// In a quoted value \" and \\ are escapes, as curl and Go write them; another backslash is one.
// Errors: invalid, naming the parameter.
Result<HeaderValue> read_header_value(std::string_view text);

// The header of a part: its lines, each with its CRLF. In the field's name and the file's, %22, %0D
// and %0A are what browsers make of a quote, CR and LF (WHATWG Fetch, "multipart/form-data
// parser"). filename* is passed over beside filename (.NET sends both) and refused alone: RFC
// 7578, 4.2 knows no such thing. Other headers say nothing (RFC 7578, 4.8). Errors: invalid: no
// Content-Disposition of form-data with a name, a header that is folded, given twice or no header,
// a name that is not UTF-8, a Content-Transfer-Encoding that encodes.
Result<MultipartPart> read_part_header(std::string_view lines);

}  // namespace parkd
