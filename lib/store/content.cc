#include "lib/store/content.h"

#include <optional>
#include <string>

#include "lib/base/json_value_text.h"
#include "lib/base/text.h"
#include "lib/job/batch.h"
#include "lib/job/job.h"

namespace parkd {
namespace {

// FNV-1a over fields with their lengths, so that "ab","c" and "a","bc" differ.
class Hash {
 public:
  void add(std::string_view text) {
    add(static_cast<int64_t>(text.size()));
    hash_ = fnv1a64(text, hash_);
  }
  void add(int64_t value) {
    char bytes[8];
    for (int i = 0; i < 8; ++i) {
      bytes[i] = static_cast<char>((static_cast<uint64_t>(value) >> (8 * i)) & 0xff);
    }
    hash_ = fnv1a64({bytes, sizeof bytes}, hash_);
  }
  void add(const std::optional<int64_t>& value) {
    add(static_cast<int64_t>(value.has_value()));
    add(value.value_or(0));
  }
  uint64_t value() const { return hash_; }

 private:
  uint64_t hash_ = fnv1a64("parkd.job.1");
};

std::optional<int64_t> micros_of(const std::optional<WallTime>& time) {
  if (!time) return std::nullopt;
  return to_unix_us(*time);
}

std::optional<int64_t> seconds_of(const std::optional<std::chrono::seconds>& duration) {
  if (!duration) return std::nullopt;
  return duration->count();
}

uint64_t hash_of(const JobSpec& spec, std::string_view metadata, std::string_view body,
                 const std::optional<uint64_t>& seed) {
  Hash hash;
  for (const std::string_view text :
       {std::string_view(spec.endpoint), std::string_view(spec.model),
        std::string_view(spec.tenant), std::string_view(spec.mailbox_key),
        std::string_view(spec.custom_id), std::string_view(spec.batch_id), metadata,
        std::string_view(spec.idempotency_key), body}) {
    hash.add(text);
  }
  hash.add(static_cast<int64_t>(spec.priority));
  hash.add(seed ? std::optional<int64_t>(static_cast<int64_t>(*seed)) : std::nullopt);
  hash.add(micros_of(spec.run_at));
  hash.add(micros_of(spec.deadline));
  hash.add(seconds_of(spec.run_timeout));
  hash.add(seconds_of(spec.retention));
  hash.add(static_cast<int64_t>(spec.max_attempts));
  return hash.value();
}

uint64_t hash_of(const BatchSpec& spec, std::string_view metadata) {
  Hash hash;
  for (const std::string_view text : {std::string_view(spec.tenant), std::string_view(spec.name),
                                      metadata, std::string_view(spec.idempotency_key)}) {
    hash.add(text);
  }
  // A batch of a file has the window that its deadline was made of, when it was first opened.
  hash.add(spec.file ? std::nullopt : micros_of(spec.deadline));
  hash.add(seconds_of(spec.retention));
  if (spec.file) {
    for (const std::string& text : {spec.file->input_file_id, spec.file->endpoint,
                                    spec.file->completion_window, spec.file->retried_from}) {
      hash.add(text);
    }
    hash.add(std::optional<int64_t>(spec.file->max_tokens));
    // What was opened by a program that knew no webhooks has the same content again.
    if (!spec.file->webhook_url.empty()) hash.add(spec.file->webhook_url);
  }
  return hash.value();
}

}  // namespace

ContentFingerprint content_fingerprint(const JobSpec& spec) {
  auto body = JsonValueText::of(spec.body);
  const auto metadata =
      JsonValueText::of(spec.metadata.empty() ? std::string_view("\"\"") : spec.metadata);
  // What has no value counts by its bytes, and what stands beside it.
  if (!body || !metadata) {
    return {hash_of(spec, spec.metadata, spec.body, spec.seed), ContentRule::value};
  }
  const bool has_seed = body->has("seed");
  body->drop("model");
  return {hash_of(spec, metadata->text(), body->text(), has_seed ? std::nullopt : spec.seed),
          ContentRule::value};
}

ContentFingerprint content_fingerprint(const BatchSpec& spec) {
  const auto metadata = JsonValueText::of(spec.metadata);
  return {hash_of(spec, metadata ? metadata->text() : spec.metadata), ContentRule::value};
}

ContentFingerprint content_fingerprint_of_bytes(const JobSpec& spec) {
  return {hash_of(spec, spec.metadata, spec.body, spec.seed), ContentRule::bytes};
}

ContentFingerprint content_fingerprint_of_bytes(const BatchSpec& spec) {
  return {hash_of(spec, spec.metadata), ContentRule::bytes};
}

bool has_content(const ContentFingerprint& known, const JobSpec& spec) {
  if (known.rule == ContentRule::value) return known == content_fingerprint(spec);
  return known == content_fingerprint_of_bytes(spec) ||
         known.hash == hash_of(spec, as_parsed_and_written(spec.metadata),
                               as_parsed_and_written(spec.body), spec.seed);
}

bool has_content(const ContentFingerprint& known, const BatchSpec& spec) {
  if (known.rule == ContentRule::value) return known == content_fingerprint(spec);
  return known == content_fingerprint_of_bytes(spec) ||
         known.hash == hash_of(spec, as_parsed_and_written(spec.metadata));
}

}  // namespace parkd
