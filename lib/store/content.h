// Content: what two submissions with one idempotency key must agree in.
//
// All that the submitter chose, and nothing that was derived from it (token counts) or filled in
// later. body and metadata count by their value (lib/base/json_value_text.h); a model in the body
// is the column's, a seed in the body takes the place of the column's. PostgreSQL does the same in
// content_hash_v1. Pure functions, any thread.
#pragma once

#include <cstdint>

namespace parkd {

struct BatchSpec;
struct JobSpec;

// By which rule a fingerprint was made; a store keeps it with the fingerprint.
enum class ContentRule : uint8_t {
  bytes,  // of JSON the bytes, written by programs until 2026-11: read, never written
  value,
};

struct ContentFingerprint {
  uint64_t hash = 0;
  ContentRule rule = ContentRule::bytes;  // what a record is that names none
  friend bool operator==(const ContentFingerprint&, const ContentFingerprint&) = default;
};

// By value.
ContentFingerprint content_fingerprint(const JobSpec& spec);
ContentFingerprint content_fingerprint(const BatchSpec& spec);

// Whether what is known by `known` has the content of `spec`. One made of bytes is compared with
// the bytes that came and with those that the program of its time made of them.
bool has_content(const ContentFingerprint& known, const JobSpec& spec);
bool has_content(const ContentFingerprint& known, const BatchSpec& spec);

// Of the rule `bytes`, for tests of stores that an earlier program wrote.
ContentFingerprint content_fingerprint_of_bytes(const JobSpec& spec);
ContentFingerprint content_fingerprint_of_bytes(const BatchSpec& spec);

}  // namespace parkd
