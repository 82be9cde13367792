#include "lib/weights/formats.h"

#include <array>
#include <string_view>

#include "lib/base/check.h"

namespace parkd {

const TensorFormat& format_of(TensorType type) {
  const TensorFormat* format = find_format(type);
  PARKD_CHECK(format != nullptr, "a TensorType outside its enumeration");
  return *format;
}

std::string unread_type_name(uint32_t number) {
  struct Unread {
    uint32_t number;
    std::string_view name;
  };
  static constexpr std::array<Unread, 18> kUnread = {{
      {9, "Q8_1"},
      {15, "Q8_K"},
      {16, "IQ2_XXS"},
      {17, "IQ2_XS"},
      {18, "IQ3_XXS"},
      {19, "IQ1_S"},
      {21, "IQ3_S"},
      {22, "IQ2_S"},
      {24, "I8"},
      {25, "I16"},
      {26, "I32"},
      {27, "I64"},
      {28, "F64"},
      {29, "IQ1_M"},
      {34, "TQ1_0"},
      {35, "TQ2_0"},
      {40, "NVFP4"},
      {41, "Q1_0"},
  }};
  for (const Unread& unread : kUnread) {
    if (unread.number == number) return std::string(unread.name);
  }
  return "type " + std::to_string(number);
}

}  // namespace parkd
