#include "lib/store/postgres/lockdown.h"

#include <pqxx/pqxx>
#include <utility>

#include "lib/store/postgres/connection.h"
#include "lib/store/postgres/rows.h"
#include "lib/store/postgres/upkeep_verbs.h"

namespace parkd {
namespace {

Connection::Options session(const std::string& dsn) {
  Connection::Options options;
  options.dsn = dsn;
  options.application_name = "jobctl";
  options.prepare = false;
  return options;
}

// The schema's owner keeps what it may do now through PUBLIC alone.
constexpr Statement kStatements{
    "lockdown_statements",
    "SELECT format('REVOKE CONNECT, TEMPORARY ON DATABASE %I FROM PUBLIC', current_database()) AS "
    "revoke, "
    "format('GRANT CONNECT ON DATABASE %I TO %s, %I', current_database(), (SELECT "
    "string_agg(quote_ident(r.rolname), ', ' ORDER BY r.rolname) FROM pg_roles r WHERE r.rolname = "
    "ANY ('{parkd_submitter,parkd_reader,parkd_daemon,parkd_admin,parkd_monitor}')), "
    "pg_get_userbyid(n.nspowner)) AS grant_connect, (SELECT 'REVOKE CREATE ON SCHEMA public FROM "
    "PUBLIC' FROM "
    "pg_namespace p WHERE p.nspname = 'public') AS revoke_create, NOT "
    "(has_database_privilege('public', "
    "current_database(), 'CONNECT') OR has_database_privilege('public', current_database(), "
    "'TEMPORARY') OR coalesce((SELECT has_schema_privilege('public', p.oid, 'CREATE') FROM "
    "pg_namespace p WHERE p.nspname = 'public'), false)) AS is_done FROM pg_namespace n WHERE "
    "n.nspname = 'parkd'"};
// Who is neither a superuser, nor the database's or the schema's owner, nor a member of a role.
constexpr Statement kShutOut{
    "lockdown_shut_out",
    "SELECT r.rolname FROM pg_roles r, pg_database d, pg_namespace n WHERE r.rolcanlogin AND NOT "
    "r.rolsuper AND d.datname = current_database() AND n.nspname = 'parkd' AND NOT "
    "pg_has_role(r.oid, d.datdba, 'USAGE') AND NOT pg_has_role(r.oid, n.nspowner, 'USAGE') AND NOT "
    "EXISTS (SELECT FROM aclexplode(d.datacl) a WHERE a.privilege_type = 'CONNECT' AND a.grantee "
    "<> 0 AND pg_has_role(r.oid, a.grantee, 'USAGE')) AND NOT EXISTS (SELECT FROM pg_roles p WHERE "
    "p.rolname = ANY ('{parkd_submitter,parkd_reader,parkd_daemon,parkd_admin,parkd_monitor}') AND "
    "pg_has_role(r.oid, p.oid, 'USAGE')) AND has_database_privilege(r.oid, d.oid, 'CONNECT') ORDER "
    "BY 1 LIMIT 20"};
constexpr Statement kRights{
    "rights_of_public",
    "SELECT concat_ws(', ', CASE WHEN has_database_privilege('public', current_database(), "
    "'CONNECT') THEN 'connect' END, CASE WHEN has_database_privilege('public', current_database(), "
    "'TEMPORARY') THEN 'make temporary tables' END, (SELECT 'make tables in the schema public' "
    "FROM "
    "pg_namespace p WHERE p.nspname = 'public' AND has_schema_privilege('public', p.oid, "
    "'CREATE')))"};

Result<Lockdown> look(Connection& connection) {
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(kStatements, {}));
  if (rows.empty()) return conflict("there is no parkd schema: run jobctl migrate up");
  Lockdown lockdown;
  for (const char* column : {"revoke", "grant_connect", "revoke_create"}) {
    if (!is_null(rows[0], column)) lockdown.statements.push_back(text(rows[0], column));
  }
  lockdown.is_done = flag(rows[0], "is_done");
  PARKD_ASSIGN_OR_RETURN(const pqxx::result logins, connection.run(kShutOut, {}));
  for (const auto& row : logins) lockdown.shut_out.push_back(text(row, "rolname"));
  return lockdown;
}

constexpr Statement kUnserved{
    "unserved",
    "SELECT d.queued + d.scheduled AS waiting, d.model FROM parkd.depth d WHERE "
    "d.queued + d.scheduled > 0 AND "
    "d.daemons = 0 ORDER BY d.model LIMIT 20"};

}  // namespace

Result<Lockdown> look_at_lockdown(const std::string& dsn) {
  Connection connection(session(dsn));
  PARKD_RETURN_IF_ERROR(connection.connect());
  return look(connection);
}

Status lock_down(const std::string& dsn) {
  Connection connection(session(dsn));
  PARKD_RETURN_IF_ERROR(connection.connect());
  PARKD_ASSIGN_OR_RETURN(const Lockdown before, look(connection));
  std::string script;
  for (const std::string& statement : before.statements) script += statement + ";\n";
  PARKD_RETURN_IF_ERROR(connection.run_script(script));
  PARKD_ASSIGN_OR_RETURN(const Lockdown after, look(connection));
  if (after.is_done) return {};
  PARKD_ASSIGN_OR_RETURN(const pqxx::result left, connection.run(kRights, {}));
  return Status(StatusCode::denied, "any login may still " + only_field(left).text() +
                                        ": run it as the owner of the database (and of the schema "
                                        "public) or as a superuser");
}

Result<std::string> rights_of_public(const std::string& dsn) {
  Connection connection(session(dsn));
  PARKD_RETURN_IF_ERROR(connection.connect());
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(kRights, {}));
  return only_field(rows).text();
}

Result<std::vector<std::string>> results_holders(const std::string& dsn) {
  Connection connection(session(dsn));
  PARKD_RETURN_IF_ERROR(connection.connect());
  const auto finishing = finishing_now(connection);
  if (!finishing.ok() && connection.sqlstate() == "42501") {
    return Status(StatusCode::denied,
                  "who holds them up only parkd_monitor, parkd_admin and parkd_daemon may see");
  }
  if (!finishing.ok()) return finishing.status();
  std::vector<std::string> holders;
  for (const Finishing& each : *finishing) holders.push_back(each.who);
  return holders;
}

Result<std::vector<std::string>> unserved_models(const std::string& dsn) {
  Connection connection(session(dsn));
  PARKD_RETURN_IF_ERROR(connection.connect());
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows, connection.run(kUnserved, {}));
  std::vector<std::string> lines;
  for (const auto& row : rows) {
    lines.push_back(text(row, "waiting") + " jobs wait for the model " + text(row, "model") +
                    ", which no daemon has in its configuration");
  }
  return lines;
}

}  // namespace parkd
