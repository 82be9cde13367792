#include "lib/store/rocksdb/record_codec.h"

#include <concepts>
#include <limits>
#include <type_traits>
#include <utility>

namespace parkd::record {
namespace {

constexpr uint8_t kJobVersion = 2;
constexpr uint8_t kJobVersionWithoutPoison = 1;  // still read
constexpr uint8_t kMessageVersion = 1;
constexpr uint8_t kHistoryVersion = 1;
constexpr uint8_t kKeyVersion = 1;
constexpr uint8_t kUndeliveredVersion = 1;

// --- keys

template <std::unsigned_integral T>
void append_big_endian(std::string& out, T value) {
  for (int shift = static_cast<int>(sizeof(T)) * 8 - 8; shift >= 0; shift -= 8) {
    out.push_back(static_cast<char>((value >> shift) & 0xff));
  }
}

uint64_t read_big_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (const char byte : bytes) value = (value << 8) | static_cast<uint8_t>(byte);
  return value;
}

void append_sized(std::string& out, std::string_view text) {
  append_big_endian(out, static_cast<uint32_t>(text.size()));
  out.append(text);
}

// --- records

class Writer {
 public:
  explicit Writer(uint8_t version) { integer(version); }

  template <std::integral T>
  void integer(T value) {
    using Unsigned = std::make_unsigned_t<std::conditional_t<std::same_as<T, bool>, uint8_t, T>>;
    const auto bits = static_cast<Unsigned>(value);
    for (size_t i = 0; i < sizeof(T); ++i) {
      bytes_.push_back(static_cast<char>((static_cast<uint64_t>(bits) >> (8 * i)) & 0xff));
    }
  }
  void text(std::string_view value) {
    integer(static_cast<uint32_t>(value.size()));
    bytes_.append(value);
  }
  void time(WallTime value) { integer(to_unix_us(value)); }
  void lease(const RunLease& value) {
    integer(value.epoch);
    integer(value.n);
  }
  template <class T, class Write>
  void optional(const std::optional<T>& value, Write write) {
    integer(value.has_value());
    if (value) write(*value);
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

// Reads fields in order. After the first that does not fit, all are empty and ok() is false.
class Reader {
 public:
  Reader(std::string_view bytes, uint8_t version) : rest_(bytes) {
    if (integer<uint8_t>() != version) ok_ = false;
  }

  template <std::integral T>
  T integer() {
    using Unsigned = std::make_unsigned_t<std::conditional_t<std::same_as<T, bool>, uint8_t, T>>;
    if (!has(sizeof(T))) return T{};
    uint64_t bits = 0;
    for (size_t i = 0; i < sizeof(T); ++i) {
      bits |= static_cast<uint64_t>(static_cast<uint8_t>(rest_[i])) << (8 * i);
    }
    rest_.remove_prefix(sizeof(T));
    if constexpr (std::same_as<T, bool>) {
      if (bits > 1) ok_ = false;
      return bits == 1;
    } else {
      return static_cast<T>(static_cast<Unsigned>(bits));
    }
  }
  std::string text() {
    const auto size = integer<uint32_t>();
    if (!has(size)) return {};
    std::string value(rest_.substr(0, size));
    rest_.remove_prefix(size);
    return value;
  }
  // Times are those of check_submission and sums of few of them: outside, the bytes are not ours.
  WallTime time() {
    const auto us = integer<int64_t>();
    constexpr int64_t kMaxUs = std::numeric_limits<int64_t>::max() / 8;
    if (us < 0 || us > kMaxUs) ok_ = false;
    return from_unix_us(ok_ ? us : 0);
  }
  RunLease lease() {
    RunLease value;
    value.epoch = integer<uint64_t>();
    value.n = integer<uint64_t>();
    return value;
  }
  template <class Enum>
  Enum word(Enum last) {
    const auto value = integer<uint8_t>();
    if (value > static_cast<uint8_t>(last)) ok_ = false;
    return static_cast<Enum>(ok_ ? value : 0);
  }
  std::chrono::seconds seconds() {
    const auto count = integer<int64_t>();
    constexpr int64_t kMax = int64_t{1} << 40;
    if (count < -kMax || count > kMax) ok_ = false;
    return std::chrono::seconds(ok_ ? count : 0);
  }
  template <class Read>
  auto optional(Read read) -> std::optional<decltype(read())> {
    if (!integer<bool>() || !ok_) return std::nullopt;
    return read();
  }
  bool finished() const { return ok_ && rest_.empty(); }

 private:
  bool has(size_t n_bytes) {
    if (rest_.size() < n_bytes) ok_ = false;
    if (!ok_) rest_ = {};
    return ok_;
  }

  std::string_view rest_;
  bool ok_ = true;
};

Status damaged(std::string_view what) {
  return corrupt("a stored " + std::string(what) + " is damaged or of a newer version");
}

void write_spec(Writer& out, const JobSpec& spec) {
  for (const std::string* text :
       {&spec.endpoint, &spec.model, &spec.tenant, &spec.mailbox_key, &spec.custom_id,
        &spec.batch_id, &spec.metadata, &spec.idempotency_key}) {
    out.text(*text);
  }
  out.integer(static_cast<uint8_t>(spec.priority));
  out.optional(spec.seed, [&](uint64_t seed) { out.integer(seed); });
  out.optional(spec.run_at, [&](WallTime time) { out.time(time); });
  out.optional(spec.deadline, [&](WallTime time) { out.time(time); });
  out.optional(spec.run_timeout, [&](std::chrono::seconds s) { out.integer(int64_t{s.count()}); });
  out.optional(spec.retention, [&](std::chrono::seconds s) { out.integer(int64_t{s.count()}); });
  for (const int32_t value :
       {spec.max_attempts, spec.n_choices, spec.prompt_tokens, spec.max_new_tokens}) {
    out.integer(value);
  }
  out.integer(spec.tokens_are_exact);
}

JobSpec read_spec(Reader& in) {
  JobSpec spec;
  for (std::string* text :
       {&spec.endpoint, &spec.model, &spec.tenant, &spec.mailbox_key, &spec.custom_id,
        &spec.batch_id, &spec.metadata, &spec.idempotency_key}) {
    *text = in.text();
  }
  spec.priority = in.word(Priority::low);
  spec.seed = in.optional([&] { return in.integer<uint64_t>(); });
  spec.run_at = in.optional([&] { return in.time(); });
  spec.deadline = in.optional([&] { return in.time(); });
  spec.run_timeout = in.optional([&] { return in.seconds(); });
  spec.retention = in.optional([&] { return in.seconds(); });
  for (int32_t* value :
       {&spec.max_attempts, &spec.n_choices, &spec.prompt_tokens, &spec.max_new_tokens}) {
    *value = in.integer<int32_t>();
  }
  spec.tokens_are_exact = in.integer<bool>();
  return spec;
}

void write_ending(Writer& out, const Ending& ending) {
  out.integer(static_cast<uint8_t>(ending.outcome));
  out.text(ending.error_code);
  out.text(ending.error_message);
  out.text(ending.error_param);
  out.integer(ending.status_code);
  out.text(ending.body);
  out.integer(ending.prompt_tokens);
  out.integer(ending.completion_tokens);
  out.integer(ending.units);
  out.integer(ending.queue_us);
  out.integer(ending.run_us);
}

Ending read_ending(Reader& in) {
  Ending ending;
  ending.outcome = in.word(Outcome::quarantined);
  ending.error_code = in.text();
  ending.error_message = in.text();
  ending.error_param = in.text();
  ending.status_code = in.integer<int32_t>();
  ending.body = in.text();
  ending.prompt_tokens = in.integer<int32_t>();
  ending.completion_tokens = in.integer<int32_t>();
  ending.units = in.integer<int64_t>();
  ending.queue_us = in.integer<int64_t>();
  ending.run_us = in.integer<int64_t>();
  return ending;
}

}  // namespace

std::string id_key(JobId id) {
  std::string key;
  append_big_endian(key, id);
  return key;
}

Result<JobId> decode_id_key(std::string_view key) {
  if (key.size() != sizeof(JobId)) return damaged("job id");
  return JobId{read_big_endian(key)};
}

std::string idempotency_key(std::string_view tenant, std::string_view key) {
  std::string out;
  append_sized(out, tenant);
  append_sized(out, key);
  return out;
}

std::string mailbox_prefix(std::string_view tenant, std::string_view mailbox_key) {
  return idempotency_key(tenant, mailbox_key);
}

std::string message_key(std::string_view tenant, std::string_view mailbox_key, uint64_t sequence) {
  std::string key = mailbox_prefix(tenant, mailbox_key);
  append_big_endian(key, sequence);
  return key;
}

std::string due_key(const Due& due) {
  std::string key;
  append_big_endian(key, static_cast<uint64_t>(to_unix_us(due.at)));
  key.push_back(static_cast<char>(due.kind));
  key += due.target;
  return key;
}

std::string due_bound(WallTime at) {
  std::string key;
  append_big_endian(key, static_cast<uint64_t>(to_unix_us(at)) + 1);
  return key;
}

Result<Due> decode_due_key(std::string_view key) {
  if (key.size() < 9) return damaged("expiry key");
  Due due;
  const uint64_t us = read_big_endian(key.substr(0, 8));
  const auto kind = static_cast<uint8_t>(key[8]);
  if (us > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return damaged("expiry key");
  if (kind != static_cast<uint8_t>(DueKind::history) &&
      kind != static_cast<uint8_t>(DueKind::idempotency)) {
    return damaged("expiry key");
  }
  due.at = from_unix_us(static_cast<int64_t>(us));
  due.kind = static_cast<DueKind>(kind);
  due.target = std::string(key.substr(9));
  return due;
}

std::string encode(const StoredJob& stored) {
  const Job& job = stored.job;
  Writer out(kJobVersion);
  out.integer(job.id);
  write_spec(out, job.spec);
  out.time(job.created_at);
  out.time(job.order_key);
  out.integer(job.attempts);
  out.integer(job.interruptions);
  out.integer(stored.fingerprint);
  out.integer(stored.cancel_requested);
  out.integer(job.deaths_alone);
  out.integer(job.suspect_group);
  out.lease(job.noted_lease);
  return out.take();
}

Result<StoredJob> decode_job(std::string_view bytes) {
  const bool is_old = !bytes.empty() && bytes[0] == char{kJobVersionWithoutPoison};
  Reader in(bytes, is_old ? kJobVersionWithoutPoison : kJobVersion);
  StoredJob stored;
  stored.job.id = in.integer<uint64_t>();
  stored.job.spec = read_spec(in);
  stored.job.created_at = in.time();
  stored.job.order_key = in.time();
  stored.job.attempts = in.integer<int32_t>();
  stored.job.interruptions = in.integer<int32_t>();
  stored.fingerprint = in.integer<uint64_t>();
  stored.cancel_requested = in.integer<bool>();
  if (!is_old) {
    stored.job.deaths_alone = in.integer<int32_t>();
    stored.job.suspect_group = in.integer<uint64_t>();
    stored.job.noted_lease = in.lease();
  }
  if (!in.finished()) return damaged("job");
  return stored;
}

std::string encode(const Message& message) {
  Writer out(kMessageVersion);
  out.integer(message.sequence);
  out.integer(message.job_id);
  out.lease(message.lease);
  for (const std::string* text : {&message.tenant, &message.mailbox_key, &message.model,
                                  &message.custom_id, &message.batch_id, &message.metadata}) {
    out.text(*text);
  }
  write_ending(out, message.ending);
  out.integer(message.attempts);
  out.time(message.created_at);
  out.time(message.finished_at);
  out.time(message.expires_at);
  return out.take();
}

Result<Message> decode_message(std::string_view bytes) {
  Reader in(bytes, kMessageVersion);
  Message message;
  message.sequence = in.integer<uint64_t>();
  message.job_id = in.integer<uint64_t>();
  message.lease = in.lease();
  for (std::string* text : {&message.tenant, &message.mailbox_key, &message.model,
                            &message.custom_id, &message.batch_id, &message.metadata}) {
    *text = in.text();
  }
  message.ending = read_ending(in);
  message.attempts = in.integer<int32_t>();
  message.created_at = in.time();
  message.finished_at = in.time();
  message.expires_at = in.time();
  if (!in.finished()) return damaged("message");
  return message;
}

std::string encode(const StoredHistory& history) {
  Writer out(kHistoryVersion);
  const HistoryRow& row = history.row;
  out.integer(row.job_id);
  out.text(row.tenant);
  out.text(row.custom_id);
  out.text(row.model);
  out.integer(static_cast<uint8_t>(row.outcome));
  out.text(row.error_code);
  out.integer(row.prompt_tokens);
  out.integer(row.completion_tokens);
  out.time(row.created_at);
  out.time(row.finished_at);
  out.lease(history.lease);
  out.integer(history.sequence);
  out.text(history.mailbox_key);
  out.time(history.message_expires_at);
  out.text(history.period);
  out.time(history.expires_at);
  return out.take();
}

Result<StoredHistory> decode_history(std::string_view bytes) {
  Reader in(bytes, kHistoryVersion);
  StoredHistory history;
  HistoryRow& row = history.row;
  row.job_id = in.integer<uint64_t>();
  row.tenant = in.text();
  row.custom_id = in.text();
  row.model = in.text();
  row.outcome = in.word(Outcome::quarantined);
  row.error_code = in.text();
  row.prompt_tokens = in.integer<int32_t>();
  row.completion_tokens = in.integer<int32_t>();
  row.created_at = in.time();
  row.finished_at = in.time();
  history.lease = in.lease();
  history.sequence = in.integer<uint64_t>();
  history.mailbox_key = in.text();
  history.message_expires_at = in.time();
  history.period = in.text();
  history.expires_at = in.time();
  if (!in.finished()) return damaged("history row");
  return history;
}

std::string encode(const StoredKey& key) {
  Writer out(kKeyVersion);
  out.integer(key.id);
  out.integer(key.fingerprint);
  out.text(key.mailbox_key);
  out.time(key.expires_at);
  return out.take();
}

Result<StoredKey> decode_key(std::string_view bytes) {
  Reader in(bytes, kKeyVersion);
  StoredKey key;
  key.id = in.integer<uint64_t>();
  key.fingerprint = in.integer<uint64_t>();
  key.mailbox_key = in.text();
  key.expires_at = in.time();
  if (!in.finished()) return damaged("idempotency key");
  return key;
}

std::string encode(const StoredUndelivered& undelivered) {
  Writer out(kUndeliveredVersion);
  out.text(undelivered.period);
  out.text(undelivered.message_key);
  return out.take();
}

Result<StoredUndelivered> decode_undelivered(std::string_view bytes) {
  Reader in(bytes, kUndeliveredVersion);
  StoredUndelivered undelivered;
  undelivered.period = in.text();
  undelivered.message_key = in.text();
  if (!in.finished()) return damaged("outbox row");
  return undelivered;
}

std::string encode_count(uint64_t value) {
  std::string bytes;
  append_big_endian(bytes, value);
  return bytes;
}

Result<uint64_t> decode_count(std::string_view bytes) {
  if (bytes.size() != 8) return damaged("counter");
  return read_big_endian(bytes);
}

}  // namespace parkd::record
