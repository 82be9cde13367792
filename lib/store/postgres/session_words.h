// What a session's failures mean, in parkd's words: these reach the daemon's peers, while what the
// server or libpq said stands in the log. Pure; any thread.
#pragma once

#include <string>
#include <string_view>

#include "lib/base/status.h"

namespace parkd {

// SQLSTATE of a statement that would have written where nothing can be.
inline constexpr char kReadOnly[] = "25006";

struct SessionFailure {
  Status raw;            // the server's or libpq's words, with the code that callers act by
  std::string sqlstate;  // "": the server did not say
  bool connected = false;
  std::string target;  // which server, without a password (dsn.h)
};
Status in_own_words(const SessionFailure& failure);

// Of a session that could not be opened.
Status cannot_connect(std::string_view raw, const std::string& target);

// Asks a session why it takes no writes; the columns of ReadOnlyCause.
inline constexpr char kAskReadOnly[] =
    "SELECT pg_is_in_recovery()::int, s.setting, s.source, quote_ident(current_database()), "
    "quote_ident(session_user) FROM pg_settings s WHERE s.name = 'default_transaction_read_only'";
struct ReadOnlyCause {
  bool is_standby = false;
  std::string setting;  // default_transaction_read_only: on, off
  std::string source;   // who set it, a word of pg_settings.source
  std::string database;
  std::string login;
};
// Whose doing it is, and the way out.
std::string why_read_only(const ReadOnlyCause& cause);
Status takes_no_writes(const std::string& why, const std::string& target);

}  // namespace parkd
