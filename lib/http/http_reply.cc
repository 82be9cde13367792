#include "lib/http/http_reply.h"

#include "lib/openai/errors.h"

namespace parkd {
namespace {

// OpenAI's clients send a request again within seconds after 409, too: what is in the way here
// stays for longer than that.
void leave_alone(HttpReply& reply) {
  if (reply.status == 409) reply.more.emplace_back("X-Should-Retry", "false");
}

}  // namespace

HttpReply error_reply(const Status& status) {
  HttpReply reply;
  reply.status = http_status_of(status.code());
  reply.body = render_error(status);
  if (reply.status == 429 || reply.status == 503) reply.retry_after_s = "1";
  leave_alone(reply);
  return reply;
}

HttpReply error_reply(int http_status, const Status& status) {
  HttpReply reply;
  reply.status = http_status;
  reply.body = render_error(http_status, status);
  leave_alone(reply);
  return reply;
}

}  // namespace parkd
