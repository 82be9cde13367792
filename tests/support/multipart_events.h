// What a MultipartReader tells of a body that is fed in given cuts, as one text to compare. One
// thread.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "lib/http/multipart.h"

namespace parkd::testing {

struct MultipartEvents {
  // A line a part, "name|filename|content type", and behind it its bytes; "<no filename>" where
  // there is none, "_" for the CR and LF of names. Then "\n<end>\n", where it ended.
  std::string told;
  Status end;  // of feed() and finish()

  bool operator==(const MultipartEvents& other) const {
    return told == other.told && end.code() == other.end.code() &&
           end.message() == other.end.message();
  }
};

class MultipartRecorder : public MultipartReader::Sink {
 public:
  explicit MultipartRecorder(std::string& told) : told_(told) {}
  Status begin_part(const MultipartPart& part) override {
    PARKD_CHECK(!is_open_, "a part begins within another");
    is_open_ = true;
    told_ += line_of(part);
    return {};
  }
  static std::string line_of(const MultipartPart& part) {
    std::string line = part.name + "|" + (part.has_filename ? part.filename : "<no filename>") +
                       "|" + part.content_type;
    for (char& c : line) {
      if (c == '\r' || c == '\n') c = '_';
    }
    return line + "\n";
  }
  Status part_data(std::string_view bytes) override {
    PARKD_CHECK(is_open_ && !bytes.empty(), "data outside of a part, or none");
    told_ += bytes;
    return {};
  }
  Status end_part() override {
    PARKD_CHECK(is_open_, "a part ends that did not begin");
    is_open_ = false;
    told_ += "\n<end>\n";
    return {};
  }

 private:
  std::string& told_;
  bool is_open_ = false;
};

// `next_cut` says how many bytes are fed next, at least one.
inline MultipartEvents multipart_events(std::string_view boundary, std::string_view body,
                                        const std::function<size_t()>& next_cut) {
  MultipartEvents events;
  MultipartRecorder recorder(events.told);
  MultipartReader reader(boundary, recorder);
  while (!body.empty()) {
    // A copy of exactly these bytes, so that a sanitizer sees who reads further.
    const std::string piece(body.substr(0, next_cut()));
    body.remove_prefix(piece.size());
    const Status fed = reader.feed(piece);
    if (!fed.ok()) break;
  }
  events.end = reader.finish();
  return events;
}

inline MultipartEvents multipart_events(std::string_view boundary, std::string_view body) {
  return multipart_events(boundary, body, [&] { return body.size(); });
}

}  // namespace parkd::testing
