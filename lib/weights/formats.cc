#include "lib/weights/formats.h"

#include "lib/base/check.h"

namespace parkd {

const TensorFormat& format_of(TensorType type) {
  const TensorFormat* format = find_format(type);
  PARKD_CHECK(format != nullptr, "a TensorType outside its enumeration");
  return *format;
}

}  // namespace parkd
