#include "daemon/api/tcp_door.h"

#include <algorithm>
#include <string>
#include <utility>

#include "lib/base/json_reader.h"
#include "lib/base/log.h"

namespace parkd {
namespace {

constexpr auto kRefusalLogEvery = std::chrono::seconds(10);
constexpr std::string_view kInvalidApiKey = "invalid_api_key";          // OpenAI's error.code
constexpr std::string_view kRateLimitExceeded = "rate_limit_exceeded";  // the same

std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

// Of "NAME:PORT", "NAME" (RFC 9110, 7.2); an IPv6 address without its brackets; "" of what is none.
std::string host_of(std::string_view host) {
  const bool bracketed = host.substr(0, 1) == "[";
  const size_t end = host.find(bracketed ? ']' : ':');
  if (bracketed && (end == host.npos || host.substr(0, end).find(':') == host.npos)) return "";
  std::string_view port = host.substr(std::min(bracketed ? end + 1 : end, host.size()));
  if (!port.empty()) {
    if (port.front() != ':' || port.find_first_not_of("0123456789", 1) != port.npos) return "";
  }
  return lower_case(bracketed ? host.substr(1, end - 1) : host.substr(0, end));
}

bool is_of_type(std::string_view content_type, std::string_view wanted) {
  std::string_view type = content_type.substr(0, content_type.find(';'));
  while (!type.empty() && type.back() == ' ') type.remove_suffix(1);
  return lower_case(type) == wanted;
}

// A web page sends a form to whom it likes, without being asked first, but always with its own
// Origin (Fetch, "Origin header").
std::optional<HttpReply> refused_origin(const HttpRequest& request) {
  const size_t host = request.origin.find("://");
  if (request.origin.empty()) return std::nullopt;
  if (host != request.origin.npos && request.origin.substr(host + 3) == request.host) {
    return std::nullopt;
  }
  return error_reply(denied("Origin is \"" + shown_name(request.origin) + "\" and Host \"" +
                            shown_name(request.host) +
                            "\": by TCP parkd takes no file from a web page of another host"));
}

}  // namespace

void TcpDoor::set_tokens(TokenTable tokens) {
  tokens_ = std::move(tokens);
  std::erase_if(in_flight_, [](const auto& entry) { return *entry.second == 0; });
}

std::optional<HttpReply> TcpDoor::refused_by_form(const HttpRequest& request,
                                                  std::optional<RouteBody> body) const {
  if (request.host.empty()) {
    return error_reply(invalid("the header Host is missing: it names the address that is meant"));
  }
  const std::string host = host_of(request.host);
  const auto& names = config_.host_names;
  const bool is_ours = host == "localhost" || is_ip_literal(host) ||
                       std::find(names.begin(), names.end(), host) != names.end();
  if (!is_ours) {
    return error_reply(421, invalid("Host is \"" + shown_name(request.host) +
                                    "\"; by TCP parkd answers to IP addresses, localhost and the "
                                    "names in daemon.host_names alone"));
  }
  if (!body) return std::nullopt;
  if (*body == RouteBody::file) return refused_origin(request);
  if (request.method == "POST" && !is_of_type(request.content_type, "application/json")) {
    return error_reply(
        415, invalid((request.content_type.empty()
                          ? "Content-Type is missing"
                          : "Content-Type is \"" + shown_name(request.content_type) + "\"") +
                     "; by TCP every POST has the header Content-Type: application/json (curl -H "
                     "'Content-Type: application/json'), which no web page sends unasked"));
  }
  return std::nullopt;
}

std::optional<HttpReply> TcpDoor::identify(const HttpRequest& request, HttpAdmission& admission) {
  Principal& who = admission.who;
  if (!config_.listen_tenant.empty()) {
    who.tenant = config_.listen_tenant;
    who.account = "tenant " + who.tenant;
    return std::nullopt;
  }
  const TokenEntry* token = request.token.empty() ? nullptr : tokens_.find(request.token);
  if (token == nullptr) return refuse_token(request);
  if (auto refusal = take_place(*token, admission)) return refusal;
  who.tenant = token->tenant;
  who.may_be_critical = token->may_be_critical;
  who.account = "tenant " + who.tenant;
  return std::nullopt;
}

std::optional<HttpReply> TcpDoor::take_place(const TokenEntry& token, HttpAdmission& admission) {
  if (!token.requests_max) return std::nullopt;
  std::shared_ptr<int32_t>& n = in_flight_[token.digest];
  if (n == nullptr) n = std::make_shared<int32_t>(0);
  if (*n >= *token.requests_max) {
    ++figures_.over_limit;
    HttpReply refusal = error_reply(
        429, exhausted("your token has " + std::to_string(*n) +
                       " requests in flight, its limit is " + std::to_string(*token.requests_max) +
                       " (requests= in daemon.tokens_file): wait until one has been answered")
                 .with_error_code(kRateLimitExceeded));
    refusal.retry_after_s = "1";
    return refusal;
  }
  struct Place {
    explicit Place(std::shared_ptr<int32_t> of) : n(std::move(of)) { ++*n; }
    ~Place() { --*n; }
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;
    const std::shared_ptr<int32_t> n;
  };
  admission.held = std::make_shared<Place>(n);
  return std::nullopt;
}

HttpReply TcpDoor::refuse_token(const HttpRequest& request) {
  const bool is_missing = request.token.empty();
  ++(is_missing ? figures_.token_missing : figures_.token_unknown);
  const auto now = std::chrono::steady_clock::now();
  if (now - refusal_logged_ > kRefusalLogEvery) {
    refusal_logged_ = now;
    log_warn("api.token_refused", {{"peer", request.who.account},
                                   {"why", is_missing ? "missing" : "unknown"},
                                   {"missing_so_far", figures_.token_missing},
                                   {"unknown_so_far", figures_.token_unknown}});
  }
  const std::string why =
      is_missing
          ? "a request by TCP needs a token: send the header Authorization: Bearer TOKEN "
            "(api_key of OpenAI's client); whoever runs parkd makes one with jobctl token new"
          : "the token of this request is none of those that parkd knows (daemon.tokens_file)";
  HttpReply reply = error_reply(401, denied(why).with_error_code(kInvalidApiKey));
  reply.more.emplace_back("WWW-Authenticate", "Bearer");
  return reply;
}

}  // namespace parkd
