// FileDownload: a file's bytes, or a range of them, on their way to a client: a piece is read when
// the last has been taken. Control thread, but for the constructor and reply().
//
// A piece that is damaged, or a file that ends meanwhile, cuts the connection: the client sees that
// bytes are missing.
#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>
#include <string>
#include <utility>

#include "lib/http/byte_budget.h"
#include "lib/http/byte_range.h"
#include "lib/http/http_server.h"
#include "lib/store/file_store.h"

namespace parkd {

class FileDownload : public std::enable_shared_from_this<FileDownload> {
 public:
  struct Parts {
    boost::asio::io_context& io;
    std::shared_ptr<FileStore> files;
    std::unique_ptr<ByteBudget::Charge> charge;  // of one piece
    std::shared_ptr<PeerWatch> peer;
  };
  FileDownload(Parts parts, StoredFile file, ByteRange range)
      : parts_(std::move(parts)), file_(std::move(file)), range_(range), position_(range.from) {}

  // Opens the stream: 200 of the whole file, 206 of a range.
  HttpReply reply();

 private:
  void opened(std::shared_ptr<HttpStream> stream);
  void send_next();
  void send(Result<std::string> part);

  Parts parts_;
  const StoredFile file_;
  const ByteRange range_;
  int64_t position_;
  std::shared_ptr<HttpStream> stream_;  // null: not open yet, or closed
};

}  // namespace parkd
