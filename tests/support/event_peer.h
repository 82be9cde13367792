// EventPeer: a client of server-sent events (WHATWG HTML, 9.2), as it reads them from a chunked
// answer (RFC 9112, 7.1). One thread.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "tests/support/raw_peer.h"

namespace parkd::testing {

struct StreamEvent {
  std::string id;
  std::string name;
  std::string data;
};

class EventPeer {
 public:
  explicit EventPeer(const std::string& socket) : peer_(socket) {}

  // Sends the request and reads the head of its answer.
  RawAnswer open(const std::string& request) {
    peer_.send(request);
    RawAnswer answer = peer_.read_head();
    if (answer.head.find("chunked") == answer.head.npos) {
      // No stream: the body has the length that was said.
      const size_t at = answer.head.find("Content-Length: ");
      const size_t length = at == answer.head.npos ? 0 : std::stoul(answer.head.substr(at + 16));
      while (answer.body.size() < length) {
        const std::string more = peer_.read_some();
        if (more.empty()) break;
        answer.body += more;
      }
    }
    return answer;
  }

  // Nothing at the end of the stream, or of the connection.
  std::optional<StreamEvent> next() {
    size_t end = 0;
    while ((end = text_.find("\n\n")) == text_.npos) {
      if (!read_chunk()) return std::nullopt;
    }
    const std::string block = text_.substr(0, end);
    text_.erase(0, end + 2);
    StreamEvent event;
    size_t at = 0;
    while (at < block.size()) {
      const size_t stop = std::min(block.find('\n', at), block.size());
      const std::string_view line = std::string_view(block).substr(at, stop - at);
      at = stop + 1;
      if (line.starts_with("id: ")) event.id = line.substr(4);
      if (line.starts_with("event: ")) event.name = line.substr(7);
      if (line.starts_with("data: ")) event.data = line.substr(6);
    }
    if (event.data.empty()) return next();  // a comment
    return event;
  }

  // Whether the last chunk has come.
  bool is_whole() const { return is_whole_; }
  void close() { peer_.close(); }
  int fd() const { return peer_.fd(); }

 private:
  bool fill() {
    const std::string more = peer_.read_some();
    raw_ += more;
    return !more.empty();
  }
  bool read_chunk() {
    if (is_whole_) return false;
    size_t line = 0;
    while ((line = raw_.find("\r\n")) == raw_.npos) {
      if (!fill()) return false;
    }
    const size_t size = std::strtoul(raw_.c_str(), nullptr, 16);
    while (raw_.size() < line + 2 + size + 2) {
      if (!fill()) return false;
    }
    text_ += raw_.substr(line + 2, size);
    raw_.erase(0, line + 2 + size + 2);
    is_whole_ = size == 0;
    return !is_whole_;
  }

  RawPeer peer_;
  std::string raw_;
  std::string text_;
  bool is_whole_ = false;
};

}  // namespace parkd::testing
