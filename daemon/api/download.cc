#include "daemon/api/download.h"

#include "daemon/api/api.h"
#include "daemon/control/on_control.h"
#include "lib/base/log.h"

namespace parkd {

HttpReply Download::reply() {
  HttpReply reply;
  const bool is_part = range_.size != file_bytes_;
  reply.status = is_part ? 206 : 200;
  reply.content_type = "application/octet-stream";
  reply.more = {{"Accept-Ranges", "bytes"}, {"X-Content-Type-Options", "nosniff"}};
  if (is_part) {
    reply.more.emplace_back("Content-Range", "bytes " + std::to_string(range_.from) + "-" +
                                                 std::to_string(range_.from + range_.size - 1) +
                                                 "/" + std::to_string(file_bytes_));
  }
  reply.stream_bytes = range_.size;
  reply.begin_stream = [self = shared_from_this()](std::shared_ptr<HttpStream> stream) {
    self->opened(std::move(stream));
  };
  return reply;
}

// The connection keeps it for as long as its client is there.
void Download::opened(std::shared_ptr<HttpStream> stream) {
  stream_ = std::move(stream);
  const auto peer = std::exchange(parts_.peer, nullptr);
  peer->when_gone([self = shared_from_this()] { self->stream_.reset(); });
  send_next();
}

void Download::send_next() {
  if (stream_ == nullptr) return;
  if (left_ == 0) {
    stream_->end();
    stream_.reset();
    return;
  }
  parts_.source->read(left_, on_control<std::string>(
                                 parts_.io, [self = shared_from_this()](Result<std::string> part) {
                                   self->send(std::move(part));
                                 }));
}

void Download::send(Result<std::string> part) {
  if (stream_ == nullptr) return;
  if (part.ok() && part->empty()) part = corrupt("it ends too soon");
  if (!part.ok()) {
    log_warn("files.download_cut", {{"id", file_id_},
                                    {"at_byte", range_.from + range_.size - left_},
                                    {"error", part.status().to_string()}});
    stream_.reset();
    return;
  }
  if (static_cast<int64_t>(part->size()) > left_) part->resize(static_cast<size_t>(left_));
  left_ -= static_cast<int64_t>(part->size());
  stream_->when_sent([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->send_next();
  });
  stream_->write(std::move(*part));
}

HttpReply no_such_range(const Status& status, int64_t file_bytes) {
  HttpReply refusal = error_reply(416, status);
  refusal.more.emplace_back("Content-Range", "bytes */" + std::to_string(file_bytes));
  return refusal;
}

}  // namespace parkd
