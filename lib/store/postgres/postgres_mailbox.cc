#include "lib/store/postgres/postgres_mailbox.h"

#include <algorithm>
#include <utility>

#include "lib/base/json_writer.h"
#include "lib/store/postgres/arguments.h"
#include "lib/store/postgres/connection.h"
#include "lib/store/postgres/migrator.h"
#include "lib/store/postgres/outbox_statements.h"
#include "lib/store/postgres/pg_text.h"
#include "lib/store/postgres/rows.h"
#include "lib/store/postgres/statements.h"
#include "lib/store/postgres/storable.h"
#include "lib/store/postgres/upkeep_verbs.h"

namespace parkd {
namespace {

constexpr char kNoPartition[] = "23514";  // check_violation: no partition of relation found for row

Connection::Options session(const PostgresOptions& options, const std::string& application_name) {
  Connection::Options session;
  session.own_words = true;
  session.dsn = options.dsn;
  session.application_name = application_name;
  session.prepare = !options.transaction_pooling;
  session.statement_limit = options.statement_limit;
  session.lock_limit = std::chrono::milliseconds(200);  // housekeeping's steps do not wait
  return session;
}

// Metadata that is not JSON, as a JSON string: the way bodies are kept.
std::string storable_metadata(const std::string& metadata, bool wrap) {
  if (!wrap || metadata.empty()) return storable_json(metadata);
  return json_string(readable_text(metadata));
}

}  // namespace

PostgresMailbox::PostgresMailbox(const PostgresOptions& options, Origin origin,
                                 const std::string& application_name)
    : origin_(std::move(origin)),
      host_(options.host),
      test_clock_(options.test_clock),
      drop_clock_(test_clock_ != nullptr ? *test_clock_ : system_clock_, std::nullopt),
      connection_(std::make_unique<Connection>(session(options, application_name))) {}

PostgresMailbox::~PostgresMailbox() = default;

std::optional<int64_t> PostgresMailbox::database_now() const {
  if (test_clock_ == nullptr) return std::nullopt;
  return to_unix_us(test_clock_->now());
}

void PostgresMailbox::close() {
  connection_->close();
}

void PostgresMailbox::interrupt_if_overdue() {
  connection_->interrupt_if_overdue();
}

Result<uint64_t> PostgresMailbox::announce(uint64_t last_sequence) {
  PARKD_RETURN_IF_ERROR(connection_->connect());
  PARKD_RETURN_IF_ERROR(check_schema(*connection_, embedded_migrations()));
  PARKD_RETURN_IF_ERROR(check_server(*connection_));
  Params partitions;
  partitions.add(database_now());
  PARKD_RETURN_IF_ERROR(connection_->run(sql::kEnsurePartitions, partitions).status());
  Params params;
  params.add(origin_.store)
      .add(to_bigint(origin_.epoch))
      .add(origin_.process)
      .add(to_bigint(last_sequence))
      .add(host_)
      .add(database_now());
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows,
                         connection_->run(outbox_sql::kOpenOutbox, params));
  if (rows.size() != 1) return internal_error("open_outbox answered no row");
  return only_field(rows).id();
}

// --- deliver

Status PostgresMailbox::send(const std::vector<Message>& messages, Wrapped wrapped) {
  std::vector<DeliverRow> rows;
  for (const Message& message : messages) {
    rows.push_back({&message, storable_ending(message.ending),
                    storable_metadata(message.metadata, wrapped != Wrapped::nothing),
                    wrapped == Wrapped::metadata_and_body});
  }
  Params params;
  params.add(origin_.store).add(origin_.process).add(database_now());
  add_arrays(params, kDeliverArrays, rows);
  Status sent = connection_->run(outbox_sql::kDeliver, params).status();
  if (!sent.ok() && connection_->sqlstate() == kNoPartition) {
    ArrayText finished_us, expires_us;
    for (const Message& message : messages) {
      finished_us.add(to_unix_us(message.finished_at));
      expires_us.add(to_unix_us(message.expires_at));
    }
    Params which;
    which.add(finished_us.take()).add(expires_us.take()).add(database_now());
    PARKD_RETURN_IF_ERROR(connection_->run(outbox_sql::kEnsureDeliveryPartitions, which).status());
    sent = connection_->run(outbox_sql::kDeliver, params).status();
  }
  return sent;
}

Status PostgresMailbox::deliver(const std::vector<Message>& messages) {
  return deliver_range(messages, 0, messages.size());
}

// A message that is refused is found in halves, in order: what was delivered is always a beginning.
Status PostgresMailbox::deliver_range(const std::vector<Message>& messages, size_t first,
                                      size_t last) {
  if (first == last) return {};
  std::vector<Message> some(messages.begin() + static_cast<std::ptrdiff_t>(first),
                            messages.begin() + static_cast<std::ptrdiff_t>(last));
  Status status = send(some, Wrapped::nothing);
  if (status.code() != StatusCode::invalid) return status;
  if (some.size() > 1) {
    const size_t middle = first + some.size() / 2;
    PARKD_RETURN_IF_ERROR(deliver_range(messages, first, middle));
    return deliver_range(messages, middle, last);
  }
  for (const Wrapped wrapped : {Wrapped::metadata, Wrapped::metadata_and_body}) {
    status = send(some, wrapped);
    if (status.code() != StatusCode::invalid) return status;
  }
  Message& message = some[0];
  message.ending = unstorable(message.ending, std::string(failure::kInternal),
                              "the result could not be stored: " + status.message());
  for (std::string* text : {&message.tenant, &message.mailbox_key, &message.model,
                            &message.custom_id, &message.batch_id}) {
    *text = readable_text(*text);
  }
  return send(some, Wrapped::metadata_and_body);
}

// --- reading

Result<FetchAnswer> PostgresMailbox::fetch(const FetchRequest& request, WallTime now) {
  Params params;
  params.add(origin_.store)
      .add(encode_text(request.tenant))
      .add(encode_text(request.mailbox_key))
      .add(to_bigint(request.after_sequence))
      .add(int64_t{std::max(request.limit, 0)})
      .add(to_unix_us(now))
      .add(request.bytes_max);
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows,
                         connection_->run(outbox_sql::kFetchOrigin, params));
  return page_from(rows, request);
}

Result<std::optional<Message>> PostgresMailbox::find(const std::string& tenant,
                                                     const std::string& mailbox_key,
                                                     uint64_t sequence, WallTime now) {
  PARKD_ASSIGN_OR_RETURN(FetchAnswer found, fetch({tenant, mailbox_key, sequence - 1, 1}, now));
  if (found.messages.empty() || found.messages[0].sequence != sequence) {
    return std::optional<Message>();
  }
  return std::optional(std::move(found.messages[0]));
}

Result<std::vector<Message>> PostgresMailbox::take(const std::string& tenant,
                                                   const std::string& mailbox_key,
                                                   const std::vector<uint64_t>& sequences,
                                                   WallTime now, UncertainTake& uncertain) {
  PARKD_ASSIGN_OR_RETURN(auto earlier, settle_take(*connection_, uncertain));
  if (earlier) return *std::move(earlier);
  ArrayText wanted;
  for (const uint64_t sequence : sequences) wanted.add(to_bigint(sequence));
  Params params;
  params.add(origin_.store)
      .add(encode_text(tenant))
      .add(encode_text(mailbox_key))
      .add(wanted.take())
      .add(to_unix_us(now));
  return send_take(*connection_, outbox_sql::kTakeOrigin, params, uncertain);
}

// --- housekeeping

Result<int64_t> PostgresMailbox::count() {
  Params params;
  params.add(database_now());
  PARKD_ASSIGN_OR_RETURN(const pqxx::result rows,
                         connection_->run(outbox_sql::kCountMessages, params));
  return only_field(rows).integer();
}

Result<int64_t> PostgresMailbox::maintain(const StoreOptions& options) {
  Wakeups wakeups;  // of jobs in the database's own queue: their daemons hear of it themselves
  PARKD_ASSIGN_OR_RETURN(
      Upkeep upkeep,
      parkd::maintain(*connection_, options,
                      {std::chrono::seconds(5), database_now(), drop_clock_.now()}, wakeups));
  notices_.set(std::move(upkeep.notices));
  return upkeep.answer.messages;
}

}  // namespace parkd
