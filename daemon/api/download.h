// Download: a file's bytes, or a range of them, on their way to a client: what comes next is read
// when the last has been taken. Control thread, but for the constructor and reply().
//
// What cannot be read, or ends too soon, cuts the connection: the client sees that bytes are
// missing.
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "lib/http/byte_budget.h"
#include "lib/http/byte_range.h"
#include "lib/http/http_server.h"
#include "lib/store/completion.h"

namespace parkd {

// Where a file's bytes come from.
class DownloadSource {
 public:
  virtual ~DownloadSource() = default;
  // The next bytes of those that were asked for, at most `most` of them and some; called again when
  // the last call has completed. On any thread.
  virtual void read(int64_t most, Completion<std::string> done) = 0;
};

class Download : public std::enable_shared_from_this<Download> {
 public:
  struct Parts {
    boost::asio::io_context& io;
    std::shared_ptr<DownloadSource> source;      // of the range
    std::unique_ptr<ByteBudget::Charge> charge;  // of what is read at a time
    std::shared_ptr<PeerWatch> peer;
  };
  Download(Parts parts, std::string file_id, int64_t file_bytes, ByteRange range)
      : parts_(std::move(parts)),
        file_id_(std::move(file_id)),
        file_bytes_(file_bytes),
        range_(range),
        left_(range.size) {}

  // Opens the stream: 200 of the whole file, 206 of a range.
  HttpReply reply();

 private:
  void opened(std::shared_ptr<HttpStream> stream);
  void send_next();
  void send(Result<std::string> part);

  Parts parts_;
  const std::string file_id_;
  const int64_t file_bytes_;
  const ByteRange range_;
  int64_t left_;                        // of the range, to be sent
  std::shared_ptr<HttpStream> stream_;  // null: not open yet, or closed
};

// 416, where none of the bytes is in the range.
HttpReply no_such_range(const Status& status, int64_t file_bytes);

}  // namespace parkd
