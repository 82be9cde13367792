#include "lib/config/values.h"

namespace parkd {
namespace {

constexpr std::string_view kNameCharacters = "letters, digits and . _ - : / @";

}  // namespace

void take_nullable(const YamlSection& section, std::string_view key, int64_t min, int64_t max,
                   std::optional<int64_t>& out) {
  if (section.has(key) && !section.has_value(key)) {
    out.reset();
    return;
  }
  take(section.integer(key, min, max), out);
}
void take_nullable(const YamlSection& section, std::string_view key, int32_t min, int32_t max,
                   std::optional<int32_t>& out) {
  std::optional<int64_t> wide = out;
  take_nullable(section, key, int64_t{min}, int64_t{max}, wide);
  out.reset();
  if (wide) out = static_cast<int32_t>(*wide);
}

void take_nullable(const YamlSection& section, std::string_view key, double min, double max,
                   std::optional<double>& out) {
  if (section.has(key) && !section.has_value(key)) {
    out.reset();
    return;
  }
  take(section.number(key, min, max), out);
}

std::string joined(const std::string& folder, std::string_view name) {
  return folder + (folder.back() == '/' ? "" : "/") + std::string(name);
}

std::optional<std::string> nullable_path(const YamlSection& section, std::string_view key) {
  if (!section.has_value(key)) return std::nullopt;
  return section.path(key);
}

std::optional<std::string> nullable_dsn(const YamlSection& section, std::string_view key) {
  if (!section.has_value(key)) return std::nullopt;
  return section.dsn(key);
}

std::optional<std::string> read_name(const YamlSection& section, std::string_view key,
                                     size_t bytes_max) {
  auto name = section.text(key, bytes_max);
  if (!name) return std::nullopt;
  const bool good = name->find_first_not_of(
                        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                        "0123456789._-:/@") == std::string::npos;
  if (!good) {
    section.fail_value(key, "has other characters than " + std::string(kNameCharacters));
  }
  return name;
}

std::string octal(uint32_t mode) {
  std::string digits = "0000";
  for (size_t i = 0; i < 4; ++i) digits[3 - i] = static_cast<char>('0' + ((mode >> (3 * i)) & 7));
  return digits;
}

bool is_word_of(const std::string& text, std::string_view extra, size_t bytes_max) {
  const std::string allowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789" + std::string(extra);
  return !text.empty() && text.size() <= bytes_max &&
         text.find_first_not_of(allowed) == std::string::npos;
}

bool is_tenant(const std::string& text) {
  return is_word_of(text, "._-", kTenantBytesMax);
}

}  // namespace parkd
