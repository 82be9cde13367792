#include "tools/jobctl/http_client.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <optional>

namespace parkd::jobctl {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

constexpr uint64_t kAnswerBytesMax = 1ull << 30;

class HttpClient::Connection {
 public:
  using Stream = beast::basic_stream<asio::local::stream_protocol>;

  Connection() : stream_(io_) {}

  beast::error_code connect(const std::string& path, std::chrono::seconds timeout) {
    return finish(timeout, [&](auto done) {
      stream_.async_connect(asio::local::stream_protocol::endpoint(path), done);
    });
  }

  beast::error_code exchange(const http::request<http::string_body>& request,
                             http::response_parser<http::string_body>& parser,
                             std::chrono::seconds timeout) {
    const beast::error_code failed = finish(timeout, [&](auto done) {
      http::async_write(stream_, request,
                        [done](beast::error_code error, size_t) mutable { done(error); });
    });
    if (failed) return failed;
    return finish(timeout, [&](auto done) {
      http::async_read(stream_, buffer_, parser,
                       [done](beast::error_code error, size_t) mutable { done(error); });
    });
  }

  // The same, each piece of a 200's body as it comes; within `timeout` of the last.
  beast::error_code exchange_streamed(const http::request<http::string_body>& request,
                                      http::response_parser<http::string_body>& parser,
                                      std::chrono::seconds timeout,
                                      const std::function<void(std::string_view)>& on_piece) {
    beast::error_code failed = finish(timeout, [&](auto done) {
      http::async_write(stream_, request,
                        [done](beast::error_code error, size_t) mutable { done(error); });
    });
    parser.eager(true);
    while (!failed && !parser.is_done()) {
      failed = finish(timeout, [&](auto done) {
        http::async_read_some(stream_, buffer_, parser,
                              [done](beast::error_code error, size_t) mutable { done(error); });
      });
      if (!parser.is_header_done() || parser.get().result_int() != 200) continue;
      std::string& body = parser.get().body();
      if (!body.empty()) on_piece(body);
      body.clear();
    }
    return failed;
  }

 private:
  // Runs one asynchronous operation to its end, so that it can have a time limit.
  template <class Start>
  beast::error_code finish(std::chrono::seconds timeout, Start&& start) {
    std::optional<beast::error_code> result;
    stream_.expires_after(timeout);
    start([&result](beast::error_code error) { result = error; });
    io_.restart();
    io_.run();
    stream_.expires_never();
    return *result;
  }

  asio::io_context io_;
  Stream stream_;
  beast::flat_buffer buffer_;
};

HttpClient::HttpClient(std::string socket_path, std::string tenant, std::chrono::seconds timeout)
    : socket_path_(std::move(socket_path)), tenant_(std::move(tenant)), timeout_(timeout) {}
HttpClient::~HttpClient() = default;

Result<HttpAnswer> HttpClient::get(const std::string& target) {
  return call("GET", target, "");
}

Result<HttpAnswer> HttpClient::post(const std::string& target, const boost::json::value& body) {
  return call("POST", target, boost::json::serialize(body));
}

Result<HttpAnswer> HttpClient::post_text(const std::string& target, const std::string& json) {
  return call("POST", target, json);
}

namespace {

HttpAnswer answer_of(http::response_parser<http::string_body>& parser) {
  HttpAnswer answer;
  answer.status = static_cast<int>(parser.get().result_int());
  answer.text = std::move(parser.get().body());
  boost::json::error_code not_json;
  answer.json = boost::json::parse(answer.text, not_json);
  if (not_json) answer.json = nullptr;
  return answer;
}

std::string way_out(beast::error_code why) {
  constexpr char kWhere[] = "--socket or PARKD_SOCKET say where it is";
  if (why == asio::error::no_permission) {
    return "its group may connect (ls -l shows which): have your user added to it, and log in anew";
  }
  if (why == asio::error::connection_refused) {
    return std::string("parkd does not run there any more: start it, or ") + kWhere;
  }
  return std::string("is parkd running? ") + kWhere;
}

Status not_reached(const std::string& socket_path, beast::error_code why) {
  return unavailable("cannot reach parkd on " + socket_path + ": " + why.message() + " (" +
                     way_out(why) + ")");
}

http::request<http::string_body> request_of(const std::string& tenant, const std::string& method,
                                            const std::string& target, const std::string& body) {
  http::request<http::string_body> request;
  request.method_string(method);
  request.target(target);
  request.version(11);
  request.set(http::field::host, "parkd");
  if (!tenant.empty()) request.set("X-Parkd-Tenant", tenant);
  if (method != "GET") request.set(http::field::content_type, "application/json");
  request.body() = body;
  request.prepare_payload();
  return request;
}

}  // namespace

Result<HttpAnswer> HttpClient::call(const std::string& method, const std::string& target,
                                    const std::string& body) {
  const auto request = request_of(tenant_, method, target, body);
  const bool reused = connection_ != nullptr;
  for (bool first = true;; first = false) {
    if (connection_ == nullptr) {
      connection_ = std::make_unique<Connection>();
      if (const auto failed = connection_->connect(socket_path_, timeout_)) {
        connection_.reset();
        return not_reached(socket_path_, failed);
      }
    }
    http::response_parser<http::string_body> parser;
    parser.body_limit(kAnswerBytesMax);
    const auto failed = connection_->exchange(request, parser, timeout_);
    if (!failed) {
      if (!parser.get().keep_alive()) connection_.reset();
      return answer_of(parser);
    }
    connection_.reset();
    // The daemon may have closed an idle connection: that alone is worth a second try.
    const bool was_idle = failed == http::error::end_of_stream || failed == asio::error::eof ||
                          failed == asio::error::broken_pipe ||
                          failed == asio::error::connection_reset;
    if (!(first && reused && was_idle)) {
      return unavailable("lost parkd on " + socket_path_ + ": " + failed.message());
    }
  }
}

Result<HttpAnswer> HttpClient::stream(const std::string& target, const std::string& last_event_id,
                                      const std::function<void(std::string_view)>& on_piece) {
  auto request = request_of(tenant_, "GET", target, "");
  if (!last_event_id.empty()) request.set("Last-Event-ID", last_event_id);
  Connection connection;
  if (const auto failed = connection.connect(socket_path_, timeout_))
    return not_reached(socket_path_, failed);
  http::response_parser<http::string_body> parser;
  parser.body_limit(boost::none);
  if (const auto failed = connection.exchange_streamed(request, parser, timeout_, on_piece)) {
    return unavailable("lost parkd on " + socket_path_ + ": " + failed.message());
  }
  return answer_of(parser);
}

Status status_of(const HttpAnswer& answer) {
  StatusCode code = StatusCode::internal;
  if (answer.status == 400 || answer.status == 413) code = StatusCode::invalid;
  if (answer.status == 403) code = StatusCode::denied;
  if (answer.status == 404) code = StatusCode::not_found;
  if (answer.status == 409) code = StatusCode::conflict;
  if (answer.status == 429) code = StatusCode::exhausted;
  if (answer.status == 503) code = StatusCode::unavailable;
  std::string message = "HTTP " + std::to_string(answer.status);
  std::string param;
  if (const auto* whole = answer.json.if_object()) {
    if (const auto* error = whole->if_contains("error"); error != nullptr && error->is_object()) {
      const auto& fields = error->get_object();
      if (const auto* text = fields.if_contains("message"); text != nullptr && text->is_string()) {
        message = text->get_string().c_str();
      }
      if (const auto* text = fields.if_contains("param"); text != nullptr && text->is_string()) {
        param = text->get_string().c_str();
      }
    }
  }
  return Status(code, message).with_param(param);
}

std::string url_encode(std::string_view text) {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool unreserved = (byte >= '0' && byte <= '9') || (byte >= 'a' && byte <= 'z') ||
                            (byte >= 'A' && byte <= 'Z') || c == '-' || c == '.' || c == '_' ||
                            c == '~';
    if (unreserved) {
      out += c;
    } else {
      out += '%';
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  return out;
}

}  // namespace parkd::jobctl
