#include "lib/http/http_reply.h"

#include "lib/openai/errors.h"

namespace parkd {

HttpReply error_reply(const Status& status) {
  HttpReply reply;
  reply.status = http_status_of(status.code());
  reply.body = render_error(status);
  if (reply.status == 429 || reply.status == 503) reply.retry_after_s = "1";
  return reply;
}

HttpReply error_reply(int http_status, const Status& status) {
  HttpReply reply;
  reply.status = http_status;
  reply.body = render_error(http_status, status);
  return reply;
}

}  // namespace parkd
