#include "lib/config/dsn_text.h"

#include <algorithm>
#include <cctype>
#include <vector>

#include "lib/base/nearest_word.h"

namespace parkd {
namespace {

constexpr std::string_view kHoldsPassword =
    "holds a password, which does not belong into a configuration: leave it out and give it by the "
    "systemd credential postgres_password (LoadCredential=), PGPASSFILE, PGPASSWORD, or a service "
    "file";
constexpr std::string_view kUnreadable =
    "is neither libpq's keywords (host=db1 dbname=parkd user=parkd) nor a URI "
    "(postgresql://parkd@db1/parkd)";

// What libpq reads, 15 to 18 (fe-connect.c, PQconninfoOptions); `ssl` is JDBC's, in URIs.
const std::vector<std::string_view> kSecrets = {"password", "sslpassword", "oauth_client_secret",
                                                "scram_client_key", "scram_server_key"};
const std::vector<std::string_view> kKeywords = {"application_name",
                                                 "channel_binding",
                                                 "client_encoding",
                                                 "connect_timeout",
                                                 "dbname",
                                                 "fallback_application_name",
                                                 "gssdelegation",
                                                 "gssencmode",
                                                 "gsslib",
                                                 "host",
                                                 "hostaddr",
                                                 "keepalives",
                                                 "keepalives_count",
                                                 "keepalives_idle",
                                                 "keepalives_interval",
                                                 "krbsrvname",
                                                 "load_balance_hosts",
                                                 "max_protocol_version",
                                                 "min_protocol_version",
                                                 "oauth_client_id",
                                                 "oauth_issuer",
                                                 "oauth_scope",
                                                 "options",
                                                 "passfile",
                                                 "port",
                                                 "replication",
                                                 "require_auth",
                                                 "requirepeer",
                                                 "requiressl",
                                                 "service",
                                                 "servicefile",
                                                 "ssl",
                                                 "ssl_max_protocol_version",
                                                 "ssl_min_protocol_version",
                                                 "sslcert",
                                                 "sslcertmode",
                                                 "sslcompression",
                                                 "sslcrl",
                                                 "sslcrldir",
                                                 "sslkey",
                                                 "sslkeylogfile",
                                                 "sslmode",
                                                 "sslnegotiation",
                                                 "sslrootcert",
                                                 "sslsni",
                                                 "target_session_attrs",
                                                 "tcp_user_timeout",
                                                 "user"};

bool is_one_of(std::string_view word, const std::vector<std::string_view>& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// What is wrong with the n-th keyword, whose value has `n_bytes`; "" when nothing is. The keyword
// itself is not shown: after an unquoted space it may be the rest of a password.
std::string keyword_refusal(std::string_view keyword, size_t n_bytes, int n) {
  if (is_one_of(keyword, kSecrets)) return n_bytes > 0 ? std::string(kHoldsPassword) : "";
  if (is_one_of(keyword, kKeywords)) return "";
  if (!nearest_word(keyword, kSecrets).empty()) return std::string(kHoldsPassword);
  const std::string_view nearest = nearest_word(keyword, kKeywords);
  return "its keyword no. " + std::to_string(n) + " is none that libpq knows" +
         (nearest.empty() ? " (host, port, dbname, user, sslmode, service, passfile, ...)"
                          : "; did you mean " + std::string(nearest) + "?");
}

bool is_space(char c) {
  return std::isspace(static_cast<unsigned char>(c)) != 0;
}

// %41 -> A; what is not an escape stays as it is (libpq refuses it later).
std::string percent_decoded(std::string_view text) {
  const auto digit = [](char c) {
    const std::string_view digits = "0123456789abcdef";
    return digits.find(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
  };
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      const size_t high = digit(text[i + 1]);
      const size_t low = digit(text[i + 2]);
      if (high != std::string_view::npos && low != std::string_view::npos) {
        out += static_cast<char>(high * 16 + low);
        i += 2;
        continue;
      }
    }
    out += text[i];
  }
  return out;
}

// "user:secret@" at the start of `text`.
bool has_user_password(std::string_view text, size_t at) {
  if (at == std::string_view::npos) return false;
  const size_t colon = text.find(':');
  return colon != std::string_view::npos && colon + 1 < at;
}

std::string uri_refusal(std::string_view rest) {
  // libpq looks for the first @ before a slash, also past a question mark; people forget to escape
  // the slashes of a password.
  const size_t query = rest.find('?');
  const size_t first_at = rest.find_first_of("@/");
  if (first_at != std::string_view::npos && rest[first_at] == '@' &&
      has_user_password(rest, first_at)) {
    return std::string(kHoldsPassword);
  }
  if (has_user_password(rest, rest.substr(0, query).rfind('@'))) return std::string(kHoldsPassword);
  for (int n = 1; query != std::string_view::npos && !rest.empty(); ++n) {
    const size_t start = rest.find_first_of("?&");
    if (start == std::string_view::npos) break;
    rest.remove_prefix(start + 1);
    const std::string_view pair = rest.substr(0, rest.find('&'));
    const size_t equals = pair.find('=');
    if (equals == std::string_view::npos) continue;
    const std::string why =
        keyword_refusal(percent_decoded(pair.substr(0, equals)), pair.size() - equals - 1, n);
    if (!why.empty()) return why;
  }
  return "";
}

// "key = 'it\'s' key2=value", as fe-connect.c's conninfo_parse reads it.
std::string keywords_refusal(std::string_view text) {
  size_t i = 0;
  int n = 0;
  const auto skip_spaces = [&] {
    while (i < text.size() && is_space(text[i])) ++i;
  };
  for (skip_spaces(); i < text.size(); skip_spaces()) {
    const size_t start = i;
    while (i < text.size() && text[i] != '=' && !is_space(text[i])) ++i;
    const std::string_view keyword = text.substr(start, i - start);
    skip_spaces();
    if (i == text.size() || text[i] != '=' || keyword.empty()) return std::string(kUnreadable);
    ++i;
    skip_spaces();
    const bool quoted = i < text.size() && text[i] == '\'';
    if (quoted) ++i;
    size_t n_bytes = 0;
    bool closed = !quoted;
    for (; i < text.size(); ++i) {
      if (quoted ? text[i] == '\'' : is_space(text[i])) {
        closed = true;
        if (quoted) ++i;
        break;
      }
      if (text[i] == '\\' && i + 1 < text.size()) ++i;
      ++n_bytes;
    }
    const std::string why = keyword_refusal(keyword, n_bytes, ++n);
    if (!why.empty()) return why;
    if (!closed) return std::string(kUnreadable);
  }
  return "";
}

}  // namespace

std::string dsn_refusal(std::string_view dsn) {
  for (const std::string_view scheme : {"postgresql://", "postgres://"}) {
    if (dsn.substr(0, scheme.size()) == scheme) return uri_refusal(dsn.substr(scheme.size()));
  }
  if (dsn.find('=') == std::string_view::npos) return std::string(kUnreadable);
  return keywords_refusal(dsn);
}

}  // namespace parkd
