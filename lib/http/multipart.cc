#include "lib/http/multipart.h"

#include <algorithm>

#include "lib/base/json_reader.h"

namespace parkd {
namespace {

constexpr size_t kBoundaryBytesMax = 70;
constexpr std::string_view kCrlf = "\r\n";

// bchars of RFC 2046, 5.1.1; the last is not a blank.
bool is_boundary(std::string_view text) {
  return consists_of(text, "'()+_,-./:=? ") && text.size() <= kBoundaryBytesMax &&
         text.back() != ' ';
}

size_t common_prefix(std::string_view a, std::string_view b) {
  const size_t n = std::min(a.size(), b.size());
  return static_cast<size_t>(std::mismatch(a.begin(), a.begin() + n, b.begin()).first - a.begin());
}

}  // namespace

Result<std::string> MultipartReader::boundary_of(std::string_view content_type) {
  const std::string is = "Content-Type is \"" + shown_name(content_type) + "\"";
  const auto value = read_header_value(content_type);
  if (!value.ok()) return invalid(is + ": " + value.status().message());
  if (value->word != "multipart/form-data") {
    return invalid(is + "; a form is sent as multipart/form-data");
  }
  auto boundary = value->find("boundary");
  if (!boundary) return invalid(is + ", without the boundary of the form's parts");
  if (!is_boundary(*boundary)) {
    return invalid(is + "; a boundary has 1 to " + std::to_string(kBoundaryBytesMax) +
                   " letters, digits and '()+_,-./:=? (RFC 2046)");
  }
  return *std::move(boundary);
}

// The body's beginning is the beginning of a line.
MultipartReader::MultipartReader(std::string_view boundary, Sink& sink)
    : sink_(sink),
      delimiter_(std::string(kCrlf) + "--" + std::string(boundary)),
      n_matched_(kCrlf.size()),
      n_before_(kCrlf.size()) {
  PARKD_CHECK(is_boundary(boundary), "not a boundary: " + std::string(boundary));
}

Status MultipartReader::feed(std::string_view bytes) {
  while (failure_.ok() && !bytes.empty() && state_ != State::epilogue) failure_ = read(bytes);
  return failure_;
}

Status MultipartReader::finish() {
  if (failure_.ok() && state_ != State::epilogue) {
    const std::string boundary = delimiter_.substr(kCrlf.size());
    failure_ = state_ == State::preamble
                   ? invalid("the body has no boundary \"" + boundary + "\" of a form")
                   : invalid("the form ends before its last boundary, \"" + boundary + "--\"");
  }
  return failure_;
}

Status MultipartReader::refused(const std::string& why) const {
  return invalid("part " + std::to_string(n_parts_) + " of the form: " + why);
}

Status MultipartReader::read(std::string_view& bytes) {
  switch (state_) {
    case State::preamble:
    case State::data:
      return read_content(bytes);
    case State::header:
      return read_header(bytes);
    case State::boundary_end:
    case State::second_dash:
    case State::padding:
    case State::line_feed: {
      const char next = bytes.front();
      bytes.remove_prefix(1);
      return read_boundary_end(next);
    }
    case State::epilogue:
      return {};
  }
  return {};
}

// The delimiter's CR stands nowhere else in it: what has matched a part of it holds no beginning of
// another, so that every byte is looked at twice at most.
Status MultipartReader::read_content(std::string_view& bytes) {
  size_t at = 0;  // before it begins no delimiter
  if (n_matched_ > 0) {
    at = common_prefix(std::string_view(delimiter_).substr(n_matched_), bytes);
    n_matched_ += at;
    const bool is_whole = n_matched_ == delimiter_.size();
    if (is_whole || at == bytes.size()) {
      bytes.remove_prefix(at);
      return is_whole ? found_boundary() : Status();
    }
    // The bytes that came before, from where they are known.
    const auto held = std::string_view(delimiter_).substr(n_before_, n_matched_ - at - n_before_);
    n_matched_ = 0;
    n_before_ = 0;
    PARKD_RETURN_IF_ERROR(pass(held));
  }
  for (;;) {
    const size_t begin = std::min(bytes.find(kCrlf.front(), at), bytes.size());
    n_matched_ = common_prefix(delimiter_, bytes.substr(begin));
    at = begin + n_matched_;
    const bool is_whole = n_matched_ == delimiter_.size();
    if (is_whole || at == bytes.size()) {
      const std::string_view before = bytes.substr(0, begin);
      bytes.remove_prefix(at);
      PARKD_RETURN_IF_ERROR(pass(before));
      return is_whole ? found_boundary() : Status();
    }
  }
}

Status MultipartReader::pass(std::string_view bytes) {
  if (bytes.empty() || state_ == State::preamble) return {};
  return sink_.part_data(bytes);
}

Status MultipartReader::found_boundary() {
  const bool ends_part = state_ == State::data;
  state_ = State::boundary_end;
  return ends_part ? sink_.end_part() : Status();
}

// What is left of the boundary's line, which a match of the delimiter began.
Status MultipartReader::read_boundary_end(char next) {
  const auto go_on = [this](State state) {
    state_ = state;
    return Status();
  };
  const bool is_blank = next == ' ' || next == '\t';
  switch (state_) {
    case State::boundary_end:
      if (next == '-') return go_on(State::second_dash);
      [[fallthrough]];
    case State::padding:
      if (is_blank) return go_on(State::padding);
      if (next == '\r') return go_on(State::line_feed);
      break;
    case State::second_dash:
      if (next == '-') return go_on(State::epilogue);
      break;
    case State::line_feed:
      if (next == '\n') return begin_header();
      break;
    default:
      break;
  }
  return invalid("behind boundary " + std::to_string(n_parts_ + 1) +
                 " of the form stands neither the end of its line nor \"--\"");
}

Status MultipartReader::begin_header() {
  if (++n_parts_ > kPartsMax) {
    return invalid("the form has more than " + std::to_string(kPartsMax) +
                   " parts: send fewer fields");
  }
  state_ = State::header;
  header_.clear();
  return {};
}

Status MultipartReader::read_header(std::string_view& bytes) {
  const size_t line_end = std::min(bytes.find('\n'), bytes.size() - 1) + 1;
  const size_t n = std::min(line_end, kPartHeaderBytesMax + 1 - header_.size());
  header_ += bytes.substr(0, n);
  bytes.remove_prefix(n);
  if (header_.size() > kPartHeaderBytesMax) {
    return refused("its header has more than " + std::to_string(kPartHeaderBytesMax) + " bytes");
  }
  if (header_.back() != '\n') return {};
  if (!header_.ends_with(kCrlf)) return refused("a line of its header ends without a CR");
  if (header_ != kCrlf && !header_.ends_with("\r\n\r\n")) return {};
  const auto part = read_part_header(header_);
  if (!part.ok()) return refused(part.status().message());
  state_ = State::data;
  n_matched_ = kCrlf.size();
  n_before_ = kCrlf.size();
  return sink_.begin_part(*part);
}

}  // namespace parkd
