// MultipartReader: reads a form of files and fields (multipart/form-data: RFC 7578 over RFC 2046)
// as it comes, in any cuts, and tells a Sink what is in it.
//
// One thread. It copies nothing but the headers of parts, and holds nothing back but how much of a
// boundary the last bytes were. Strict, as what clients send is: lines end in CRLF, and behind a
// boundary at the start of a line stand blanks (RFC 2046's transport padding) and the line's end,
// or two dashes. What stands before the first boundary and behind the last is passed over.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "lib/base/status.h"
#include "lib/http/multipart_header.h"

namespace parkd {

inline constexpr size_t kPartsMax = 32;
inline constexpr size_t kPartHeaderBytesMax = 8 << 10;

class MultipartReader {
 public:
  // What is told of each part: begin_part, part_data as often as there is some, end_part. An error
  // ends the reading.
  class Sink {
   public:
    virtual ~Sink() = default;
    virtual Status begin_part(const MultipartPart& part) = 0;
    // The next bytes of the part, in any cuts, never empty. They are gone after the call.
    virtual Status part_data(std::string_view bytes) = 0;
    virtual Status end_part() = 0;
  };

  // The boundary that a Content-Type "multipart/form-data; boundary=..." names, in quotes or not.
  // Errors: invalid: another type, no boundary, or not 1 to 70 of the characters that RFC 2046,
  // 5.1.1 has for it.
  static Result<std::string> boundary_of(std::string_view content_type);

  // Requires a boundary of boundary_of(), and a sink that lives as long.
  MultipartReader(std::string_view boundary, Sink& sink);
  MultipartReader(const MultipartReader&) = delete;
  MultipartReader& operator=(const MultipartReader&) = delete;

  // The next bytes of the body. Errors: the sink's, or invalid, naming the part; the first is kept.
  Status feed(std::string_view bytes);
  // The body is whole. Errors: the first one, or invalid: it ended before its last boundary.
  Status finish();

 private:
  // What comes next.
  enum class State {
    preamble,
    data,
    boundary_end,
    second_dash,
    padding,
    line_feed,
    header,
    epilogue
  };

  Status read(std::string_view& bytes);
  Status read_content(std::string_view& bytes);
  Status found_boundary();
  Status pass(std::string_view bytes);
  Status read_boundary_end(char next);
  Status begin_header();
  Status read_header(std::string_view& bytes);
  Status refused(const std::string& why) const;

  Sink& sink_;
  const std::string delimiter_;  // CRLF, two dashes and the boundary
  State state_ = State::preamble;
  // How much of the delimiter the last bytes of the content were, and of that how much is no
  // content: the end of the line that the content begins behind, or the body itself.
  size_t n_matched_;
  size_t n_before_;
  std::string header_;  // of a part, as far as it came
  size_t n_parts_ = 0;
  Status failure_;
};

}  // namespace parkd
