// FileUpload: the body of POST /v1/files on its way into the FileStore: a form
// (multipart/form-data) whose part `file` is stored in pieces while it comes.
//
// Control thread. Of a file it holds two pieces at most: one that fills up, one that is being
// stored; while that is stored nothing is read from the client. Let go of before it is finished, it
// abandons what is stored.
#pragma once

#include <boost/asio/io_context.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "lib/http/body_sink.h"
#include "lib/http/http_server.h"
#include "lib/http/multipart.h"
#include "lib/store/file_store.h"

namespace parkd {

class FileUpload final : public BodySink,
                         public std::enable_shared_from_this<FileUpload>,
                         private MultipartReader::Sink {
 public:
  // Errors: invalid, when the body is not a form.
  static Result<std::shared_ptr<FileUpload>> begin(boost::asio::io_context& io,
                                                   std::shared_ptr<FileStore> files,
                                                   std::string tenant,
                                                   std::string_view content_type);
  ~FileUpload() override;

  void take(std::string piece, Next next) override;
  // The body is whole: makes it a file, and answers with that.
  void finish(const HttpReplier& reply);

 private:
  FileUpload(boost::asio::io_context& io, std::shared_ptr<FileStore> files, std::string tenant,
             std::string_view boundary);

  Status begin_part(const MultipartPart& part) override;
  Status part_data(std::string_view bytes) override;
  Status end_part() override;

  // Stores what makes a piece, or all there is; then calls `then` with why that failed.
  void store(bool all, std::function<void(Status)> then);
  void store_piece(bool all, std::function<void(Status)> then);
  Result<FileSpec> spec() const;

  boost::asio::io_context& io_;
  const std::shared_ptr<FileStore> files_;
  const std::string tenant_;
  MultipartReader reader_;
  std::string part_;  // whose bytes come; empty: none
  std::map<std::string, std::string> fields_;
  std::optional<std::string> filename_;  // empty: there was no part `file` yet
  std::string bytes_;                    // of the file, not stored yet
  std::string id_;                       // of the upload; empty: not begun, or finished
};

// Of a failure of files: 413 where the file is too large, else what fits the status.
HttpReply file_error_reply(const Status& status);

}  // namespace parkd
