#include "lib/store/rocksdb/record_codec.h"

#include <concepts>
#include <limits>
#include <type_traits>
#include <utility>

namespace parkd::record {
namespace {

// What a record is called in a message, and the version its bytes are written in. Older versions
// are read: fields() says since when a field is there.
template <class Record>
struct Format;
template <>
struct Format<StoredJob> {
  static constexpr uint8_t kVersion = 4;
  static constexpr std::string_view kName = "job";
};
template <>
struct Format<Message> {
  static constexpr uint8_t kVersion = 1;
  static constexpr std::string_view kName = "message";
};
template <>
struct Format<StoredHistory> {
  static constexpr uint8_t kVersion = 2;
  static constexpr std::string_view kName = "history row";
};
template <>
struct Format<StoredKey> {
  static constexpr uint8_t kVersion = 2;
  static constexpr std::string_view kName = "idempotency key";
};
template <>
struct Format<StoredRequest> {
  static constexpr uint8_t kVersion = 1;
  static constexpr std::string_view kName = "request";
};
template <>
struct Format<StoredBatch> {
  static constexpr uint8_t kVersion = 4;
  static constexpr std::string_view kName = "batch";
};
template <>
struct Format<StoredUndelivered> {
  static constexpr uint8_t kVersion = 1;
  static constexpr std::string_view kName = "outbox row";
};

constexpr Priority last_of(Priority) {
  return Priority::low;
}
constexpr Outcome last_of(Outcome) {
  return Outcome::quarantined;
}
constexpr ContentRule last_of(ContentRule) {
  return ContentRule::value;
}
constexpr FileStage last_of(FileStage) {
  return FileStage::failed;
}
constexpr WebhookStatus last_of(WebhookStatus) {
  return WebhookStatus::given_up;
}

// Writes fields one after the other; Reader reads them in the same order.
class Writer {
 public:
  explicit Writer(uint8_t version) : version_(version) { field(version); }

  template <class... Fields>
  void operator()(const Fields&... fields) {
    (field(fields), ...);
  }
  uint8_t version() const { return version_; }
  std::string take() { return std::move(bytes_); }

 private:
  template <std::integral T>
  void field(T value) {
    using Unsigned = std::make_unsigned_t<std::conditional_t<std::same_as<T, bool>, uint8_t, T>>;
    const auto bits = static_cast<Unsigned>(value);
    for (size_t i = 0; i < sizeof(T); ++i) {
      bytes_.push_back(static_cast<char>((static_cast<uint64_t>(bits) >> (8 * i)) & 0xff));
    }
  }
  template <class Enum>
  requires std::is_enum_v<Enum>
  void field(Enum value) { field(static_cast<uint8_t>(value)); }
  void field(const std::string& value) {
    field(static_cast<uint32_t>(value.size()));
    bytes_.append(value);
  }
  void field(WallTime value) { field(to_unix_us(value)); }
  void field(std::chrono::seconds value) { field(int64_t{value.count()}); }
  void field(const RunLease& value) { (*this)(value.epoch, value.n); }
  void field(const FileBatchSpec& value) {
    (*this)(value.input_file_id, value.endpoint, value.completion_window, value.retried_from,
            value.max_tokens);
  }
  void field(const BatchFault& value) {
    (*this)(value.code, value.message, value.param, value.line);
  }
  template <class T>
  void field(const std::optional<T>& value) {
    field(value.has_value());
    if (value) field(*value);
  }
  template <class T>
  void field(const std::vector<T>& values) {
    field(static_cast<uint32_t>(values.size()));
    for (const T& value : values) field(value);
  }

  const uint8_t version_;
  std::string bytes_;
};

// After the first field that does not fit, all are empty and finished() is false.
class Reader {
 public:
  Reader(std::string_view bytes, uint8_t version_max) : rest_(bytes) {
    field(version_);
    if (version_ < 1 || version_ > version_max) ok_ = false;
  }

  template <class... Fields>
  void operator()(Fields&... fields) {
    (field(fields), ...);
  }
  uint8_t version() const { return version_; }
  bool finished() const { return ok_ && rest_.empty(); }

 private:
  template <std::integral T>
  void field(T& value) {
    using Unsigned = std::make_unsigned_t<std::conditional_t<std::same_as<T, bool>, uint8_t, T>>;
    value = T{};
    if (!has(sizeof(T))) return;
    uint64_t bits = 0;
    for (size_t i = 0; i < sizeof(T); ++i) {
      bits |= static_cast<uint64_t>(static_cast<uint8_t>(rest_[i])) << (8 * i);
    }
    rest_.remove_prefix(sizeof(T));
    if constexpr (std::same_as<T, bool>) {
      if (bits > 1) ok_ = false;
      value = bits == 1;
    } else {
      value = static_cast<T>(static_cast<Unsigned>(bits));
    }
  }
  template <class Enum>
  requires std::is_enum_v<Enum>
  void field(Enum& value) {
    uint8_t number = 0;
    field(number);
    if (number > static_cast<uint8_t>(last_of(Enum{}))) ok_ = false;
    value = static_cast<Enum>(ok_ ? number : 0);
  }
  void field(std::string& value) {
    uint32_t size = 0;
    field(size);
    if (!has(size)) return;
    value.assign(rest_.substr(0, size));
    rest_.remove_prefix(size);
  }
  // Times are those of check_submission and sums of few of them: outside, the bytes are not ours.
  void field(WallTime& value) {
    int64_t us = 0;
    field(us);
    constexpr int64_t kMaxUs = std::numeric_limits<int64_t>::max() / 8;
    if (us < 0 || us > kMaxUs) ok_ = false;
    value = from_unix_us(ok_ ? us : 0);
  }
  void field(std::chrono::seconds& value) {
    int64_t count = 0;
    field(count);
    constexpr int64_t kMax = int64_t{1} << 40;
    if (count < -kMax || count > kMax) ok_ = false;
    value = std::chrono::seconds(ok_ ? count : 0);
  }
  void field(RunLease& value) { (*this)(value.epoch, value.n); }
  void field(FileBatchSpec& value) {
    (*this)(value.input_file_id, value.endpoint, value.completion_window, value.retried_from,
            value.max_tokens);
  }
  void field(BatchFault& value) { (*this)(value.code, value.message, value.param, value.line); }
  // Each value takes a byte at least, so that no count asks for more memory than the bytes do.
  template <class T>
  void field(std::vector<T>& values) {
    uint32_t size = 0;
    field(size);
    values.clear();
    for (uint32_t i = 0; i < size && ok_ && !rest_.empty(); ++i) field(values.emplace_back());
    if (values.size() != size) ok_ = false;
  }
  template <class T>
  void field(std::optional<T>& value) {
    bool is_there = false;
    field(is_there);
    value.reset();
    if (is_there && ok_) field(value.emplace());
  }
  bool has(size_t n_bytes) {
    if (rest_.size() < n_bytes) ok_ = false;
    if (!ok_) rest_ = {};
    return ok_;
  }

  std::string_view rest_;
  uint8_t version_ = 0;
  bool ok_ = true;
};

// The fields of a record in the order of its bytes, said once: Io is a Writer and the record const,
// or a Reader.
template <class Given, class Record>
concept Is = std::same_as<std::remove_const_t<Given>, Record>;

template <class Io, Is<JobSpec> Spec>
void spec_fields(Io& io, Spec& spec) {
  io(spec.endpoint, spec.model, spec.tenant, spec.mailbox_key, spec.custom_id, spec.batch_id,
     spec.metadata, spec.idempotency_key, spec.priority, spec.seed, spec.run_at, spec.deadline,
     spec.run_timeout, spec.retention, spec.max_attempts, spec.n_choices, spec.prompt_tokens,
     spec.max_new_tokens, spec.tokens_are_exact);
}

template <class Io, Is<StoredJob> Record>
void fields(Io& io, Record& stored) {
  auto& job = stored.job;
  io(job.id);
  spec_fields(io, job.spec);
  io(job.created_at, job.order_key, job.attempts, job.interruptions, stored.fingerprint.hash,
     stored.cancel_requested);
  if (io.version() >= 2) {
    io(job.deaths_alone, job.suspect_group, job.noted_lease, job.requeued_from);
  }
  if (io.version() >= 3) io(stored.fingerprint.rule);
  if (io.version() >= 4) io(stored.caller_grace);
}

template <class Io, Is<Message> Record>
void fields(Io& io, Record& message) {
  auto& ending = message.ending;
  io(message.sequence, message.job_id, message.lease, message.tenant, message.mailbox_key,
     message.model, message.custom_id, message.batch_id, message.metadata, ending.outcome,
     ending.error_code, ending.error_message, ending.error_param, ending.status_code, ending.body,
     ending.prompt_tokens, ending.completion_tokens, ending.units, ending.queue_us, ending.run_us,
     message.attempts, message.created_at, message.finished_at, message.expires_at);
}

template <class Io, Is<StoredHistory> Record>
void fields(Io& io, Record& history) {
  auto& row = history.row;
  io(row.job_id, row.tenant, row.custom_id, row.model, row.outcome, row.error_code,
     row.prompt_tokens, row.completion_tokens, row.created_at, row.finished_at, history.lease,
     history.sequence, history.mailbox_key, history.message_expires_at, history.period,
     history.expires_at);
  if (io.version() >= 2) io(history.requeued_as);
}

template <class Io, Is<StoredKey> Record>
void fields(Io& io, Record& key) {
  io(key.id, key.fingerprint.hash, key.mailbox_key, key.expires_at);
  if (io.version() >= 2) io(key.fingerprint.rule);
}

template <class Io, Is<StoredRequest> Record>
void fields(Io& io, Record& request) {
  io(request.job_id, request.sequence, request.message_expires_at);
  spec_fields(io, request.spec);
  io(request.spec.body);
}

template <class Io, Is<FileProgress> Progress>
void progress_fields(Io& io, Progress& at) {
  io(at.stage, at.model, at.lines, at.reached, at.faults, at.validated_at, at.ended_at,
     at.output.lines, at.output.bytes, at.output.deleted, at.errors.lines, at.errors.bytes,
     at.errors.deleted, at.usage.input, at.usage.cached, at.usage.output, at.usage.reasoning);
}

template <class Io, Is<WebhookState> State>
void webhook_fields(Io& io, State& at) {
  io(at.status, at.attempts, at.next_attempt_at, at.delivered_at, at.last_error);
}

template <class Io, Is<StoredBatch> Record>
void fields(Io& io, Record& stored) {
  auto& batch = stored.batch;
  auto& spec = batch.spec;
  io(batch.id, spec.tenant, spec.name, spec.metadata, spec.idempotency_key, spec.deadline,
     spec.retention, batch.total, batch.completed, batch.failed, batch.cancelled,
     batch.deadline_missed, batch.quarantined, batch.truncated, batch.created_at, batch.sealed_at,
     batch.cancel_at, batch.finished_at, stored.fingerprint.hash);
  if (io.version() >= 2) io(stored.fingerprint.rule);
  if (io.version() >= 3) {
    io(spec.file);
    if (spec.file) progress_fields(io, batch.progress);
  }
  if (io.version() >= 4 && spec.file) {
    io(spec.file->webhook_url);
    webhook_fields(io, batch.webhook);
  }
}

template <class Io, Is<StoredUndelivered> Record>
void fields(Io& io, Record& undelivered) {
  io(undelivered.period, undelivered.message_key);
}

template <class Record>
std::string encode_record(const Record& record) {
  Writer out(Format<Record>::kVersion);
  fields(out, record);
  return out.take();
}

template <class Record>
Result<Record> decode_record(std::string_view bytes) {
  Reader in(bytes, Format<Record>::kVersion);
  Record record;
  fields(in, record);
  if (!in.finished()) return damaged(Format<Record>::kName);
  return record;
}

}  // namespace

std::string encode(const StoredJob& stored) {
  return encode_record(stored);
}
Result<StoredJob> decode_job(std::string_view bytes) {
  return decode_record<StoredJob>(bytes);
}

std::string encode(const Message& message) {
  return encode_record(message);
}
Result<Message> decode_message(std::string_view bytes) {
  return decode_record<Message>(bytes);
}

std::string encode(const StoredHistory& history) {
  return encode_record(history);
}
Result<StoredHistory> decode_history(std::string_view bytes) {
  return decode_record<StoredHistory>(bytes);
}

std::string encode(const StoredKey& key) {
  return encode_record(key);
}
Result<StoredKey> decode_key(std::string_view bytes) {
  return decode_record<StoredKey>(bytes);
}

std::string encode(const StoredRequest& request) {
  return encode_record(request);
}
Result<StoredRequest> decode_request(std::string_view bytes) {
  return decode_record<StoredRequest>(bytes);
}

std::string encode(const StoredBatch& batch) {
  return encode_record(batch);
}
Result<StoredBatch> decode_batch(std::string_view bytes) {
  PARKD_ASSIGN_OR_RETURN(StoredBatch stored, decode_record<StoredBatch>(bytes));
  if (!stored.batch.spec.deadline || !stored.batch.spec.retention) return damaged("batch");
  return stored;
}

std::string encode(const StoredUndelivered& undelivered) {
  return encode_record(undelivered);
}
Result<StoredUndelivered> decode_undelivered(std::string_view bytes) {
  return decode_record<StoredUndelivered>(bytes);
}

}  // namespace parkd::record
