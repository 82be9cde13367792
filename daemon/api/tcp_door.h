// TcpDoor: what a request that came by TCP has to show before anything of it is looked at. Its Host
// is this machine's (a web page that has a name of its own point here has another), a POST has a
// body that no web page may send unasked (no answer has CORS headers), and a token is with
// it; or nothing, where all who come are one tenant's (daemon.listen_tenant).
//
// Control thread. What it hands out as `held` may outlive it. Never keeps, shows or logs a token.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string_view>

#include "daemon/api/routes.h"
#include "lib/config/config.h"
#include "lib/config/token_file.h"
#include "lib/http/http_server.h"

namespace parkd {

struct TcpFigures {
  int64_t token_missing = 0;  // requests refused with 401
  int64_t token_unknown = 0;
  int64_t over_limit = 0;  // refused with 429: their token has too many in flight
};

class TcpDoor {
 public:
  explicit TcpDoor(const DaemonConfig& config) : config_(config) {}

  // Who may come from now on; what is in flight ends as it began.
  void set_tokens(TokenTable tokens);

  // Why its header is refused, whoever sent it: 400, 421 (Host), 415 (Content-Type), 403 (Origin).
  // `body`: what its route takes; nothing: there is no such route.
  std::optional<HttpReply> refused_by_form(const HttpRequest& request,
                                           std::optional<RouteBody> body) const;
  // Whose request it is: gives admission.who its tenant, account and grants, and admission.held a
  // place among the requests of its token in flight. Or why it is refused: 401, 429.
  std::optional<HttpReply> identify(const HttpRequest& request, HttpAdmission& admission);

  const TcpFigures& figures() const { return figures_; }

 private:
  std::optional<HttpReply> take_place(const TokenEntry& token, HttpAdmission& admission);
  HttpReply refuse_token(const HttpRequest& request);

  const DaemonConfig& config_;
  TokenTable tokens_;
  std::map<TokenDigest, std::shared_ptr<int32_t>> in_flight_;  // of tokens with a limit
  TcpFigures figures_;
  std::chrono::steady_clock::time_point refusal_logged_{};
};

}  // namespace parkd
