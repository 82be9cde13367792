#include "lib/store/postgres/session_words.h"

#include <utility>

namespace parkd {
namespace {

constexpr std::string_view kSeeLog = "parkd's log has its own words";

std::string in_brackets(const std::string& target) {
  return target.empty() ? "" : " (" + target + ")";
}

// libpq gives no code for a session that it could not open, so its text is looked at; what is told
// is ours.
std::string_view why_not_connected(std::string_view raw) {
  constexpr std::pair<std::string_view, std::string_view> kKnown[] = {
      {"password authentication failed", "it refuses the password"},
      {"no password supplied", "it asks for a password"},
      {"pg_hba.conf", "its pg_hba.conf does not let this login in"},
      {"too many", "it has no room for another session"},
      {"remaining connection slots", "it has no room for another session"},
      {"starting up", "it is starting"},
      {"shutting down", "it is stopping"},
      {"not currently accepting connections",
       "its database was set to accept none (ALTER DATABASE ... ALLOW_CONNECTIONS)"},
      {"not permitted to log in", "it does not let this login in (ALTER ROLE ... LOGIN)"},
      {"permission denied for database", "this login has no right to connect (GRANT CONNECT)"},
      {"session is read-only", "it takes no writes, and the DSN asks for one that does"},
      {"is in hot standby mode", "it is a standby, and the DSN asks for a primary"},
      {"does not exist", "it has no such database or login"},
      {"Connection refused", "the server does not run"},
      {"No such file", "the server does not run"},
      {"could not translate host name", "its host's name is not known here"},
      {"No route to host", "there is no way to its host"},
      {"timeout", "it does not answer"},
      {"server closed the connection", "it closed the connection at once"},
  };
  for (const auto& [theirs, ours] : kKnown) {
    if (raw.find(theirs) != raw.npos) return ours;
  }
  return kSeeLog;
}

// Of a session that there was.
std::string_view why_lost(const std::string& sqlstate) {
  constexpr std::pair<std::string_view, std::string_view> kKnown[] = {
      {"57P01", "an administrator ended the session, or the server stops"},
      {"57P02", "the server crashed and starts anew"},
      {"57P03", "the server does not let anybody in yet"},
      {"57P04", "its database was dropped"},
      {"57P05", "an idle_session_timeout ended the session"},
      {"25P03", "an idle_in_transaction_session_timeout ended the session"},
      {"25P04", "a transaction_timeout ended the session"},
  };
  for (const auto& [state, ours] : kKnown) {
    if (sqlstate == state) return ours;
  }
  return "it does not answer any more";
}

std::string_view why_not_now(const std::string& sqlstate) {
  if (sqlstate == "57014") return "a statement took too long and was ended";
  if (sqlstate == "55P03") return "another session's open transaction holds what it needs";
  if (sqlstate == "53100") return "its disk is full";
  if (sqlstate == "53200") return "it is out of memory";
  if (sqlstate.rfind("40", 0) == 0) return "it stood in another's way and was ended";
  return kSeeLog;
}

}  // namespace

Status in_own_words(const SessionFailure& failure) {
  const std::string& sqlstate = failure.sqlstate;
  const StatusCode code = failure.raw.code();
  // What our own functions raise is in our words already.
  constexpr std::string_view kPrefix = "ERROR:  ";
  for (const std::string_view ours : {"PK", "22023", "53400", "55000"}) {
    if (sqlstate.rfind(ours, 0) != 0 || failure.raw.message().rfind(kPrefix, 0) != 0) continue;
    return {code, failure.raw.message().substr(kPrefix.size())};
  }
  const std::string state = sqlstate.empty() ? "" : ", SQLSTATE " + sqlstate;
  const std::string who = in_brackets(failure.target + state);
  if (code == StatusCode::unavailable && (sqlstate.empty() || !failure.connected)) {
    return {code,
            "the connection to PostgreSQL was lost" + who + ": " + std::string(why_lost(sqlstate))};
  }
  if (code == StatusCode::unavailable) {
    return {code,
            "PostgreSQL cannot do this now" + who + ": " + std::string(why_not_now(sqlstate))};
  }
  return {code, (code == StatusCode::invalid ? "PostgreSQL refused the data"
                                             : "PostgreSQL refused a statement") +
                    who + "; " + std::string(kSeeLog)};
}

Status cannot_connect(std::string_view raw, const std::string& target) {
  return unavailable("cannot connect to PostgreSQL" + in_brackets(target) + ": " +
                     std::string(why_not_connected(raw)));
}

std::string why_read_only(const ReadOnlyCause& cause) {
  const std::string reset = " RESET default_transaction_read_only";
  if (cause.is_standby) {
    return "it is a standby; name the primary in the DSN (of several hosts, "
           "target_session_attrs=read-write finds it)";
  }
  if (cause.setting != "on") return "it was read-only a moment ago and no longer is";
  if (cause.source == "database") {
    return "database " + cause.database + " was set read-only; ALTER DATABASE " + cause.database +
           reset + " ends that";
  }
  if (cause.source == "user") {
    return "login " + cause.login + " was set read-only; ALTER ROLE " + cause.login + reset +
           " ends that";
  }
  if (cause.source == "database user") {
    return "login " + cause.login + " was set read-only in database " + cause.database +
           "; ALTER ROLE " + cause.login + " IN DATABASE " + cause.database + reset + " ends that";
  }
  if (cause.source == "client" || cause.source == "environment variable") {
    return "the DSN or PGOPTIONS sets default_transaction_read_only; take it out";
  }
  if (cause.source == "session") {
    return "the session was set read-only, by a pooler or somebody who used it before; RECONNECT "
           "in pgbouncer's console ends that";
  }
  return "the server was set read-only; ALTER SYSTEM" + reset +
         " (or its line in postgresql.conf) and SELECT pg_reload_conf() end that";
}

Status takes_no_writes(const std::string& why, const std::string& target) {
  return unavailable("PostgreSQL takes no writes" + in_brackets(target) + ": " + why);
}

}  // namespace parkd
