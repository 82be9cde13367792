// The enumerations' words in YAML, and those that are refused by name. Private to lib/config.
#pragma once

#include "lib/config/yaml_reader.h"

namespace parkd::words {

inline constexpr std::string_view kNotYet = "not supported yet";

inline constexpr Word<StoreBackend> kStoreBackend[] = {
    {"memory", StoreBackend::memory},     {"rocksdb", StoreBackend::rocksdb},
    {"yaque", StoreBackend::rocksdb},  // the design document's name of the embedded durable queue
    {"postgres", StoreBackend::postgres}, {"sqlite", {}, kNotYet},
    {"surrealdb", {}, kNotYet},
};
inline constexpr Word<Device> kDevice[] = {
    {"auto", Device::automatic},
    {"cpu", Device::cpu},
    {"cuda", Device::cuda},
};
inline constexpr Word<Dtype> kDtype[] = {
    {"f32", Dtype::f32}, {"f16", Dtype::f16}, {"bf16", Dtype::bf16}};
inline constexpr Word<Admission> kAdmission[] = {{"reserve", Admission::reserve},
                                                 {"grow", {}, kNotYet}};
inline constexpr Word<PrefixSharing> kPrefixSharing[] = {{"tenant", PrefixSharing::tenant},
                                                         {"all", PrefixSharing::all}};
inline constexpr Word<CpuIsa> kCpuIsa[] = {{"auto", CpuIsa::automatic},
                                           {"scalar", CpuIsa::scalar},
                                           {"avx2", CpuIsa::avx2},
                                           {"avx512", CpuIsa::avx512}};
inline constexpr Word<LogLevel> kLogLevel[] = {{"debug", LogLevel::debug},
                                               {"info", LogLevel::info},
                                               {"warn", LogLevel::warn},
                                               {"error", LogLevel::error}};
inline constexpr Word<LogFormat> kLogFormat[] = {{"text", LogFormat::text},
                                                 {"json", LogFormat::json}};

// The first word of a value.
template <class T, size_t n>
std::string_view word_of(const Word<T> (&words)[n], T value) {
  for (const Word<T>& word : words) {
    if (word.value == value && word.refused.empty()) return word.text;
  }
  return "?";
}

}  // namespace parkd::words
