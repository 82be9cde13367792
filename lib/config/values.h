// Kinds of values that several sections have. Private to lib/config.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "lib/config/yaml_reader.h"

namespace parkd {

inline constexpr size_t kNameBytesMax = 128;  // of a model

template <class T>
void take(std::optional<T> read, std::optional<T>& out) {
  if (read) out = read;
}

// Each reads a number whose null means "left out", also over a global value.
void take_nullable(const YamlSection& section, std::string_view key, int64_t min, int64_t max,
                   std::optional<int64_t>& out);
void take_nullable(const YamlSection& section, std::string_view key, int32_t min, int32_t max,
                   std::optional<int32_t>& out);
void take_nullable(const YamlSection& section, std::string_view key, double min, double max,
                   std::optional<double>& out);

std::optional<std::string> nullable_path(const YamlSection& section, std::string_view key);
std::optional<std::string> nullable_dsn(const YamlSection& section, std::string_view key);

// A model's name or hf_id.
std::optional<std::string> read_name(const YamlSection& section, std::string_view key,
                                     size_t bytes_max);

// A path in a folder.
std::string joined(const std::string& folder, std::string_view name);

// Of a file: "0640".
std::string octal(uint32_t mode);

// 1 .. bytes_max letters, digits and `extra`.
bool is_word_of(const std::string& text, std::string_view extra, size_t bytes_max);

inline constexpr size_t kTenantBytesMax = 64;
inline constexpr const char* kTenantRule = "is not a tenant (1 .. 64 letters, digits, . _ -)";
bool is_tenant(const std::string& text);

}  // namespace parkd
