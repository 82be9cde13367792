#include "lib/http/request_head.h"

#include <algorithm>
#include <boost/beast/core/string.hpp>
#include <map>
#include <string>

namespace parkd {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;

bool read_query(std::string_view text, std::map<std::string, std::string>& query) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('&'), text.size());
    const std::string_view pair = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const size_t equals = std::min(pair.find('='), pair.size());
    std::string name;
    std::string value;
    if (!url_decode(pair.substr(0, equals), name)) return false;
    if (!url_decode(pair.substr(std::min(equals + 1, pair.size())), value)) return false;
    query[name] = value;
  }
  return true;
}

bool read_target(std::string_view target, HttpRequest& request) {
  const size_t question = std::min(target.find('?'), target.size());
  return url_decode(target.substr(0, question), request.path) &&
         read_query(target.substr(std::min(question + 1, target.size())), request.query);
}

std::string text_of(beast::string_view text) {
  return {text.data(), text.size()};
}

// Bytes of a peer's header, as much of them as a message shows.
std::string quoted(beast::string_view text) {
  constexpr size_t kShown = 60;
  return "\"" + text_of(text.substr(0, kShown)) + (text.size() > kShown ? "...\"" : "\"");
}

std::optional<HttpReply> refused_coding(const http::request_header<>& header) {
  for (const auto& field : header) {
    if (field.name() != http::field::transfer_encoding) continue;
    if (!beast::iequals(field.value(), "chunked")) {
      return error_reply(
          501, invalid("Transfer-Encoding is " + quoted(field.value()) + "; parkd knows chunked"));
    }
  }
  if (const auto coding = header.find(http::field::content_encoding);
      coding != header.end() && !beast::iequals(coding->value(), "identity")) {
    return error_reply(415, invalid("Content-Encoding is " + quoted(coding->value()) +
                                    "; parkd takes bodies as they are: send it without"));
  }
  return std::nullopt;
}

// "" where there is none, or credentials of another kind (RFC 6750, 2.1).
std::string bearer_token(const http::request_header<>& header) {
  constexpr beast::string_view kScheme = "Bearer ";
  const auto found = header.find(http::field::authorization);
  if (found == header.end()) return "";
  const beast::string_view value = found->value();
  if (!beast::iequals(value.substr(0, kScheme.size()), kScheme)) return "";
  const size_t from = value.find_first_not_of(' ', kScheme.size());
  return from == value.npos ? "" : text_of(value.substr(from));
}

}  // namespace

RequestHead read_request_head(const http::request_header<>& header) {
  RequestHead head;
  HttpRequest& request = head.request;
  request.method = text_of(header.method_string());
  request.is_head = request.method == "HEAD";
  if (request.is_head) request.method = "GET";
  if (!read_target({header.target().data(), header.target().size()}, request)) {
    head.refusal = error_reply(invalid("broken %-escape in the URL"));
    return head;
  }
  head.refusal = refused_coding(header);
  if (head.refusal) return head;
  if (const auto expect = header.find(http::field::expect); expect != header.end()) {
    head.expects_continue = beast::iequals(expect->value(), "100-continue");
    if (!head.expects_continue) {
      head.refusal = error_reply(
          417, invalid("Expect is " + quoted(expect->value()) + "; parkd knows 100-continue"));
      return head;
    }
  }
  const auto take = [&header](const char* name, std::string& value) {
    if (const auto found = header.find(name); found != header.end()) {
      value = text_of(found->value());
    }
  };
  if (header.count(http::field::host) > 1) {
    head.refusal = error_reply(invalid("there are several headers Host: send one"));
    return head;
  }
  take("Host", request.host);
  take("Content-Type", request.content_type);
  request.token = bearer_token(header);
  take("X-Parkd-Tenant", request.tenant);
  take("Idempotency-Key", request.idempotency_key);
  take("X-Parkd-On-Disconnect", request.on_disconnect);
  take("Last-Event-ID", request.last_event_id);
  take("Range", request.range);
  take("Origin", request.origin);
  return head;
}

bool url_decode(std::string_view text, std::string& out) {
  const auto digit = [](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  out.clear();
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size() || digit(text[i + 1]) < 0 || digit(text[i + 2]) < 0) return false;
    out += static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2]));
    i += 2;
  }
  return true;
}

}  // namespace parkd
