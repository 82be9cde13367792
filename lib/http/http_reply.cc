#include "lib/http/http_reply.h"

#include <string_view>

#include "lib/job/ending_codes.h"
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
  const std::string_view code =
      status.error_code().empty() ? failure::kInvalidRequest : status.error_code();
  reply.body = render_error(http_status, code, status.message(), status.param());
  return reply;
}

}  // namespace parkd
