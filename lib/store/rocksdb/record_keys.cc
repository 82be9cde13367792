#include <concepts>
#include <limits>

#include "lib/store/rocksdb/record_codec.h"

namespace parkd::record {
namespace {

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

}  // namespace

Status damaged(std::string_view what) {
  return corrupt("a stored " + std::string(what) + " is damaged or of a newer version");
}

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

std::string request_prefix(std::string_view error_code) {
  std::string key(4, '\xff');  // where a message key has the size of its tenant
  append_sized(key, error_code);
  return key;
}

std::string request_key(std::string_view error_code, uint64_t sequence) {
  std::string key = request_prefix(error_code);
  append_big_endian(key, sequence);
  return key;
}

Result<std::string> error_code_of_request_key(std::string_view key) {
  constexpr size_t kBefore = 4 + 4;  // the mark, and the size of the code
  if (key.size() < kBefore + 8) return damaged("request key");
  return std::string(key.substr(kBefore, key.size() - kBefore - 8));
}

std::string batch_request_prefix(std::string_view batch_id) {
  std::string key(8, '\xff');  // where a request's key has the size of its code, too
  append_sized(key, batch_id);
  return key;
}

std::string batch_request_key(std::string_view batch_id, uint64_t sequence) {
  std::string key = batch_request_prefix(batch_id);
  append_big_endian(key, sequence);
  return key;
}

bool is_batch_request_key(std::string_view key) {
  return key.size() > 8 && key.substr(0, 8) == std::string(8, '\xff');
}

Result<uint64_t> decode_batch_request_sequence(std::string_view key) {
  if (!is_batch_request_key(key) || key.size() < 8 + 8) return damaged("request key");
  return read_big_endian(key.substr(key.size() - 8));
}

std::string encode(const BatchRequest& request) {
  std::string bytes;
  append_big_endian(bytes, request.job_id);
  return bytes + request.error_code;
}

Result<BatchRequest> decode_batch_request(std::string_view bytes) {
  if (bytes.size() < 8) return damaged("request of a batch");
  return BatchRequest{read_big_endian(bytes.substr(0, 8)), std::string(bytes.substr(8))};
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
