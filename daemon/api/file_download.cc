#include "daemon/api/file_download.h"

#include <algorithm>
#include <utility>

#include "daemon/control/on_control.h"
#include "lib/base/log.h"

namespace parkd {
namespace {

constexpr auto kPiece = static_cast<int64_t>(kFilePieceBytes);

}  // namespace

HttpReply FileDownload::reply() {
  HttpReply reply;
  const bool is_part = range_.size != file_.bytes;
  reply.status = is_part ? 206 : 200;
  reply.content_type = "application/octet-stream";
  reply.more = {{"Accept-Ranges", "bytes"}, {"X-Content-Type-Options", "nosniff"}};
  if (is_part) {
    reply.more.emplace_back("Content-Range", "bytes " + std::to_string(range_.from) + "-" +
                                                 std::to_string(range_.from + range_.size - 1) +
                                                 "/" + std::to_string(file_.bytes));
  }
  reply.stream_bytes = range_.size;
  reply.begin_stream = [self = shared_from_this()](std::shared_ptr<HttpStream> stream) {
    self->opened(std::move(stream));
  };
  return reply;
}

// The connection keeps it for as long as its client is there.
void FileDownload::opened(std::shared_ptr<HttpStream> stream) {
  stream_ = std::move(stream);
  const auto peer = std::exchange(parts_.peer, nullptr);
  peer->when_gone([self = shared_from_this()] { self->stream_.reset(); });
  send_next();
}

void FileDownload::send_next() {
  if (stream_ == nullptr) return;
  const int64_t end = range_.from + range_.size;
  if (position_ == end) {
    stream_->end();
    stream_.reset();
    return;
  }
  const int64_t n = position_ / kPiece;
  const int64_t skipped = position_ % kPiece;
  const int64_t wanted = std::min(kPiece - skipped, end - position_);
  const auto then = on_control<std::string>(
      parts_.io,
      [self = shared_from_this()](Result<std::string> part) { self->send(std::move(part)); });
  // Cut here, on the store's thread: the control thread copies no piece.
  parts_.files->read_piece(file_.id, file_.tenant, n, [=](Result<std::string> piece) {
    if (!piece.ok()) return then(std::move(piece));
    if (static_cast<int64_t>(piece->size()) < skipped + wanted) {
      return then(corrupt("a piece of " + std::to_string(piece->size()) + " bytes is too short"));
    }
    if (skipped == 0 && static_cast<int64_t>(piece->size()) == wanted)
      return then(std::move(piece));
    then(piece->substr(static_cast<size_t>(skipped), static_cast<size_t>(wanted)));
  });
}

void FileDownload::send(Result<std::string> part) {
  if (stream_ == nullptr) return;
  if (!part.ok()) {
    log_warn("files.download_cut",
             {{"id", file_.id}, {"at_byte", position_}, {"error", part.status().to_string()}});
    stream_.reset();
    return;
  }
  position_ += static_cast<int64_t>(part->size());
  stream_->when_sent([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->send_next();
  });
  stream_->write(std::move(*part));
}

}  // namespace parkd
