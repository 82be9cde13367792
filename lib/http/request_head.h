// A request's first line and header, read: what an HttpRequest is without its body. Pure.
#pragma once

#include <boost/beast/http/fields.hpp>
#include <boost/beast/http/message.hpp>
#include <optional>
#include <string_view>

#include "lib/http/http_reply.h"
#include "lib/http/http_server.h"

namespace parkd {

struct RequestHead {
  HttpRequest request;               // no body yet, and no principal
  bool expects_continue = false;     // "Expect: 100-continue"
  std::optional<HttpReply> refusal;  // a header that parkd does not go along with
};

RequestHead read_request_head(const boost::beast::http::request_header<>& header);

// "%2F" decoded; false when the escapes are broken.
bool url_decode(std::string_view text, std::string& out);

}  // namespace parkd
