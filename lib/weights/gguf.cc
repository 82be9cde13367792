#include "lib/weights/gguf.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>
#include <type_traits>
#include <utility>

#include "lib/base/check.h"
#include "lib/base/json_writer.h"
#include "lib/weights/formats.h"

namespace parkd {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF's numbers are read as they lie");

// Value types of keys: docs/gguf.md, gguf_metadata_value_type.
enum ValueType : uint32_t {
  kUint8 = 0,
  kInt8 = 1,
  kUint16 = 2,
  kInt16 = 3,
  kUint32 = 4,
  kInt32 = 5,
  kFloat32 = 6,
  kBool = 7,
  kString = 8,
  kArray = 9,
  kUint64 = 10,
  kInt64 = 11,
  kFloat64 = 12,
};

constexpr std::array<std::string_view, 13> kValueTypeNames = {
    "uint8", "int8",   "uint16", "int16",  "uint32", "int32",  "float32",
    "bool",  "string", "array",  "uint64", "int64",  "float64"};

// Bytes of a scalar; 0 for a string, an array or an unknown type.
uint64_t scalar_bytes(uint32_t type) {
  constexpr std::array<uint64_t, 13> kBytes = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return type < kBytes.size() ? kBytes[type] : 0;
}

std::string value_type_name(uint32_t type) {
  return type < kValueTypeNames.size() ? std::string(kValueTypeNames[type])
                                       : "type " + std::to_string(type);
}

bool multiply_overflows(uint64_t a, uint64_t b, uint64_t& product) {
  return __builtin_mul_overflow(a, b, &product);
}

template <class T>
T read_scalar(std::span<const uint8_t> payload) {
  T value;
  PARKD_CHECK(payload.size() >= sizeof value, "a scalar's payload was checked when it was parsed");
  std::memcpy(&value, payload.data(), sizeof value);
  return value;
}

// A value of any integer type as int64; nothing for another type or one past int64.
std::optional<int64_t> integer_of(uint32_t type, std::span<const uint8_t> payload) {
  switch (type) {
    case kUint8:
      return read_scalar<uint8_t>(payload);
    case kInt8:
      return read_scalar<int8_t>(payload);
    case kUint16:
      return read_scalar<uint16_t>(payload);
    case kInt16:
      return read_scalar<int16_t>(payload);
    case kUint32:
      return read_scalar<uint32_t>(payload);
    case kInt32:
      return read_scalar<int32_t>(payload);
    case kInt64:
      return read_scalar<int64_t>(payload);
    case kUint64: {
      const auto value = read_scalar<uint64_t>(payload);
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
      return static_cast<int64_t>(value);
    }
    default:
      return std::nullopt;
  }
}

std::string_view as_text(std::span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// A string's bytes, behind its length; the lengths were checked when the file was parsed.
std::string_view take_string(std::span<const uint8_t>& payload) {
  const auto length = read_scalar<uint64_t>(payload);
  const std::string_view text = as_text(payload.subspan(sizeof length, length));
  payload = payload.subspan(sizeof length + length);
  return text;
}

}  // namespace

// The one pass over a file's header. Every read is checked against what is left of the file.
class GgufReader {
 public:
  explicit GgufReader(GgufFile& file) : file_(file), rest_(file.bytes()) {}

  Status read() {
    PARKD_RETURN_IF_ERROR(read_preamble());
    for (uint64_t i = 0; i < n_keys_; ++i) PARKD_RETURN_IF_ERROR(read_key(i));
    PARKD_RETURN_IF_ERROR(read_alignment());
    for (uint64_t i = 0; i < n_tensors_; ++i) PARKD_RETURN_IF_ERROR(read_tensor(i));
    return place_tensors();
  }

 private:
  struct Placed {
    TensorView view;
    uint64_t offset = 0;  // from the start of the data
    uint64_t n_bytes = 0;
  };

  size_t position() const { return file_.bytes().size() - rest_.size(); }

  Status damaged(const std::string& what) const { return corrupt(file_.error_text(what)); }
  Status unsupported(const std::string& what) const { return invalid(file_.error_text(what)); }
  Status cut_off(const std::string& where, uint64_t wanted) const {
    return damaged(where + " needs " + std::to_string(wanted) + " bytes at offset " +
                   std::to_string(position()) + ", the file has " + std::to_string(rest_.size()) +
                   " left");
  }

  template <class T>
  Status read_number(T& value, const std::string& where) {
    if (rest_.size() < sizeof value) return cut_off(where, sizeof value);
    std::memcpy(&value, rest_.data(), sizeof value);
    rest_ = rest_.subspan(sizeof value);
    return {};
  }

  Status read_string(std::string_view& text, uint64_t bytes_max, const std::string& where) {
    uint64_t length = 0;
    PARKD_RETURN_IF_ERROR(read_number(length, where));
    if (length > bytes_max) {
      return damaged(where + " is " + std::to_string(length) + " bytes long, the limit is " +
                     std::to_string(bytes_max));
    }
    if (length > rest_.size()) return cut_off(where, length);
    text = as_text(rest_.first(length));
    rest_ = rest_.subspan(length);
    return {};
  }

  Status read_preamble() {
    uint32_t magic = 0;
    uint32_t version = 0;
    PARKD_RETURN_IF_ERROR(read_number(magic, "the magic"));
    if (magic != 0x46554747) return unsupported("is not a GGUF file (its magic is not \"GGUF\")");
    PARKD_RETURN_IF_ERROR(read_number(version, "the version"));
    if (version != 3) {
      return unsupported("GGUF version " + std::to_string(version) + " is not supported, only 3" +
                         (version == 0x03000000 ? " in little-endian byte order" : ""));
    }
    PARKD_RETURN_IF_ERROR(read_number(n_tensors_, "the tensor count"));
    PARKD_RETURN_IF_ERROR(read_number(n_keys_, "the key count"));
    if (n_tensors_ > kGgufTensorsMax) {
      return damaged("has " + std::to_string(n_tensors_) + " tensors, the limit is " +
                     std::to_string(kGgufTensorsMax));
    }
    if (n_keys_ > kGgufKeysMax) {
      return damaged("has " + std::to_string(n_keys_) + " keys, the limit is " +
                     std::to_string(kGgufKeysMax));
    }
    return {};
  }

  Status read_key(uint64_t index) {
    std::string_view key;
    PARKD_RETURN_IF_ERROR(
        read_string(key, kGgufNameBytesMax, "the name of key " + std::to_string(index)));
    const std::string where = "key " + json_string(key);
    GgufFile::Value value;
    PARKD_RETURN_IF_ERROR(read_number(value.type, where));
    const std::span<const uint8_t> before = rest_;
    if (value.type == kArray) {
      PARKD_RETURN_IF_ERROR(read_array_head(value.element_type, value.n_elements, where));
      const std::span<const uint8_t> elements = rest_;
      PARKD_RETURN_IF_ERROR(skip_elements(value.element_type, value.n_elements, 1, where));
      value.payload = elements.first(elements.size() - rest_.size());
    } else {
      PARKD_RETURN_IF_ERROR(skip_elements(value.type, 1, 0, where));
      value.payload = before.first(before.size() - rest_.size());
    }
    if (!file_.values_.emplace(key, value).second) return damaged(where + " stands there twice");
    return {};
  }

  Status read_array_head(uint32_t& element_type, uint64_t& n_elements, const std::string& where) {
    PARKD_RETURN_IF_ERROR(read_number(element_type, where));
    PARKD_RETURN_IF_ERROR(read_number(n_elements, where));
    if (n_elements > kGgufArrayElementsMax) {
      return damaged(where + " has " + std::to_string(n_elements) + " elements, the limit is " +
                     std::to_string(kGgufArrayElementsMax));
    }
    return {};
  }

  // Moves past `n` values of `type`; `depth` arrays are open around them.
  Status skip_elements(uint32_t type, uint64_t n, int depth, const std::string& where) {
    if (const uint64_t each = scalar_bytes(type); each > 0) {
      const uint64_t wanted = n * each;  // n <= 2^24
      if (wanted > rest_.size()) return cut_off(where, wanted);
      rest_ = rest_.subspan(wanted);
      return {};
    }
    if (type == kString) {
      std::string_view text;
      for (uint64_t i = 0; i < n; ++i) {
        PARKD_RETURN_IF_ERROR(read_string(text, kGgufStringBytesMax, where));
      }
      return {};
    }
    if (type != kArray) return damaged(where + " has the unknown " + value_type_name(type));
    if (depth >= kGgufArrayDepthMax) {
      return damaged(where + " nests arrays deeper than " + std::to_string(kGgufArrayDepthMax));
    }
    for (uint64_t i = 0; i < n; ++i) {
      uint32_t element_type = 0;
      uint64_t n_elements = 0;
      PARKD_RETURN_IF_ERROR(read_array_head(element_type, n_elements, where));
      PARKD_RETURN_IF_ERROR(skip_elements(element_type, n_elements, depth + 1, where));
    }
    return {};
  }

  Status read_alignment() {
    PARKD_ASSIGN_OR_RETURN(const int64_t alignment, file_.integer_or("general.alignment", 32));
    // 8 is the least the format allows; it also lets every type be read where it lies.
    if (alignment < 8 || alignment > static_cast<int64_t>(kGgufAlignmentMax) ||
        !std::has_single_bit(static_cast<uint64_t>(alignment))) {
      return damaged("general.alignment is " + std::to_string(alignment) +
                     ", not a power of two from 8 to " + std::to_string(kGgufAlignmentMax));
    }
    alignment_ = static_cast<uint64_t>(alignment);
    return {};
  }

  Status read_tensor(uint64_t index) {
    Placed tensor;
    PARKD_RETURN_IF_ERROR(read_string(tensor.view.name, kGgufNameBytesMax,
                                      "the name of tensor " + std::to_string(index)));
    const std::string where = "tensor " + json_string(tensor.view.name);
    if (!file_.tensor_index_.emplace(tensor.view.name, tensors_.size()).second) {
      return damaged(where + " stands there twice");
    }
    PARKD_RETURN_IF_ERROR(read_dimensions(tensor, where));

    uint32_t type = 0;
    PARKD_RETURN_IF_ERROR(read_number(type, where));
    const TensorFormat* format = find_format(type);
    if (format == nullptr) {
      return unsupported(where + ": " + unread_type_name(type) + " is not supported yet");
    }
    tensor.view.type = format->type;
    PARKD_RETURN_IF_ERROR(measure(tensor, *format, where));

    PARKD_RETURN_IF_ERROR(read_number(tensor.offset, where));
    if (tensor.offset % alignment_ != 0) {
      return damaged(where + " starts at offset " + std::to_string(tensor.offset) +
                     ", not a multiple of the alignment " + std::to_string(alignment_));
    }
    tensors_.push_back(tensor);
    return {};
  }

  Status read_dimensions(Placed& tensor, const std::string& where) {
    uint32_t n_dimensions = 0;
    PARKD_RETURN_IF_ERROR(read_number(n_dimensions, where));
    if (n_dimensions < 1 || n_dimensions > 4) {
      return damaged(where + " has " + std::to_string(n_dimensions) +
                     " dimensions, the limits are 1 and 4");
    }
    std::array<uint64_t, 4> dimensions = {1, 1, 1, 1};
    for (uint32_t i = 0; i < n_dimensions; ++i) {
      PARKD_RETURN_IF_ERROR(read_number(dimensions[i], where));
      if (dimensions[i] == 0 || dimensions[i] > uint64_t{1} << 40) {
        return damaged(where + " has dimension " + std::to_string(dimensions[i]) +
                       ", the limits are 1 and 2^40");
      }
    }
    if (dimensions[2] != 1 || dimensions[3] != 1) {
      return unsupported(where + ": tensors of more than 2 dimensions are not supported yet");
    }
    tensor.view.columns = static_cast<int64_t>(dimensions[0]);  // innermost first
    tensor.view.rows = static_cast<int64_t>(dimensions[1]);
    return {};
  }

  Status measure(Placed& tensor, const TensorFormat& format, const std::string& where) const {
    const auto columns = static_cast<uint64_t>(tensor.view.columns);
    const auto elements = static_cast<uint64_t>(format.block_elements);
    if (columns % elements != 0) {
      return damaged(where + ": its rows of " + std::to_string(columns) +
                     " elements are not whole blocks of " + std::string(format.name) + " (" +
                     std::to_string(elements) + ")");
    }
    uint64_t row_bytes = 0;
    if (multiply_overflows(columns / elements, static_cast<uint64_t>(format.block_bytes),
                           row_bytes) ||
        multiply_overflows(row_bytes, static_cast<uint64_t>(tensor.view.rows), tensor.n_bytes)) {
      return damaged(where + " is larger than 2^64 bytes");
    }
    return {};
  }

  Status place_tensors() {
    const uint64_t padding = (alignment_ - position() % alignment_) % alignment_;
    if (padding > rest_.size() && n_tensors_ > 0) return cut_off("the padding", padding);
    file_.header_bytes_ = position();
    const std::span<const uint8_t> data = rest_.subspan(std::min<size_t>(padding, rest_.size()));
    for (Placed& tensor : tensors_) {
      if (tensor.offset > data.size() || tensor.n_bytes > data.size() - tensor.offset) {
        return damaged("tensor " + json_string(tensor.view.name) + " needs " +
                       std::to_string(tensor.n_bytes) + " bytes at offset " +
                       std::to_string(tensor.offset) + " of the data, which has " +
                       std::to_string(data.size()));
      }
      tensor.view.bytes = data.subspan(tensor.offset, tensor.n_bytes);
      file_.tensors_.push_back(tensor.view);
    }
    return check_overlaps();
  }

  Status check_overlaps() {
    std::sort(tensors_.begin(), tensors_.end(),
              [](const Placed& a, const Placed& b) { return a.offset < b.offset; });
    for (size_t i = 1; i < tensors_.size(); ++i) {
      const Placed& before = tensors_[i - 1];
      if (before.offset + before.n_bytes > tensors_[i].offset) {
        return damaged("tensors " + json_string(before.view.name) + " and " +
                       json_string(tensors_[i].view.name) + " overlap");
      }
    }
    return {};
  }

  GgufFile& file_;
  std::span<const uint8_t> rest_;
  uint64_t n_tensors_ = 0;
  uint64_t n_keys_ = 0;
  uint64_t alignment_ = 32;
  std::vector<Placed> tensors_;
};

Result<std::shared_ptr<GgufFile>> GgufFile::parse(std::shared_ptr<const MappedFile> file) {
  std::shared_ptr<GgufFile> made(new GgufFile(std::move(file)));
  PARKD_RETURN_IF_ERROR(GgufReader(*made).read());
  return made;
}

bool GgufFile::has(std::string_view key) const {
  return values_.count(key) > 0;
}

std::vector<std::string_view> GgufFile::keys() const {
  std::vector<std::string_view> names;
  for (const auto& entry : values_) names.push_back(entry.first);
  return names;
}

Result<const GgufFile::Value*> GgufFile::find(std::string_view key) const {
  const auto found = values_.find(key);
  if (found == values_.end())
    return not_found(error_text("key " + json_string(key) + " is missing"));
  return &found->second;
}

Status GgufFile::wrong_type(std::string_view key, std::string_view wanted) const {
  const Value& value = values_.at(key);
  std::string type = value_type_name(value.type);
  if (value.type == kArray) type += " of " + value_type_name(value.element_type);
  return invalid(error_text("key " + json_string(key) + " is a " + type + " where " +
                            std::string(wanted) + " is expected"));
}

Result<int64_t> GgufFile::integer(std::string_view key) const {
  PARKD_ASSIGN_OR_RETURN(const Value* value, find(key));
  const std::optional<int64_t> number = integer_of(value->type, value->payload);
  if (!number) return wrong_type(key, "an integer below 2^63");
  return *number;
}

Result<double> GgufFile::number(std::string_view key) const {
  PARKD_ASSIGN_OR_RETURN(const Value* value, find(key));
  if (value->type == kFloat32) return double{read_scalar<float>(value->payload)};
  if (value->type == kFloat64) return read_scalar<double>(value->payload);
  const std::optional<int64_t> number = integer_of(value->type, value->payload);
  if (!number) return wrong_type(key, "a number");
  return static_cast<double>(*number);
}

Result<bool> GgufFile::boolean(std::string_view key) const {
  PARKD_ASSIGN_OR_RETURN(const Value* value, find(key));
  if (value->type != kBool) return wrong_type(key, "a bool");
  return read_scalar<uint8_t>(value->payload) != 0;
}

Result<std::string_view> GgufFile::string(std::string_view key) const {
  PARKD_ASSIGN_OR_RETURN(const Value* value, find(key));
  if (value->type != kString) return wrong_type(key, "a string");
  std::span<const uint8_t> payload = value->payload;
  return take_string(payload);
}

Result<std::vector<int64_t>> GgufFile::integers(std::string_view key) const {
  PARKD_ASSIGN_OR_RETURN(const Value* value, find(key));
  if (value->type != kArray) return wrong_type(key, "an array of integers");
  const uint64_t each = scalar_bytes(value->element_type);
  std::vector<int64_t> numbers;
  numbers.reserve(each == 0 ? 0 : value->n_elements);
  for (uint64_t i = 0; i < value->n_elements; ++i) {
    if (each == 0) return wrong_type(key, "an array of integers");
    const auto number = integer_of(value->element_type, value->payload.subspan(i * each, each));
    if (!number) return wrong_type(key, "an array of integers");
    numbers.push_back(*number);
  }
  return numbers;
}

Result<std::vector<bool>> GgufFile::flags(std::string_view key) const {
  PARKD_ASSIGN_OR_RETURN(const Value* value, find(key));
  if (value->type != kArray || value->element_type != kBool) {
    return wrong_type(key, "an array of bools");
  }
  std::vector<bool> flags;
  for (uint64_t i = 0; i < value->n_elements; ++i) flags.push_back(value->payload[i] != 0);
  return flags;
}

Result<std::vector<float>> GgufFile::floats(std::string_view key) const {
  PARKD_ASSIGN_OR_RETURN(const Value* value, find(key));
  if (value->type != kArray || value->element_type != kFloat32) {
    return wrong_type(key, "an array of floats");
  }
  std::vector<float> numbers;
  numbers.reserve(value->n_elements);
  for (uint64_t i = 0; i < value->n_elements; ++i) {
    numbers.push_back(read_scalar<float>(value->payload.subspan(i * sizeof(float), sizeof(float))));
  }
  return numbers;
}

Result<std::vector<std::string_view>> GgufFile::strings(std::string_view key) const {
  PARKD_ASSIGN_OR_RETURN(const Value* value, find(key));
  if (value->type != kArray || value->element_type != kString) {
    return wrong_type(key, "an array of strings");
  }
  std::vector<std::string_view> texts;
  texts.reserve(value->n_elements);
  std::span<const uint8_t> payload = value->payload;
  for (uint64_t i = 0; i < value->n_elements; ++i) texts.push_back(take_string(payload));
  return texts;
}

Result<int64_t> GgufFile::integer_or(std::string_view key, int64_t otherwise) const {
  if (!has(key)) return otherwise;
  return integer(key);
}
Result<double> GgufFile::number_or(std::string_view key, double otherwise) const {
  if (!has(key)) return otherwise;
  return number(key);
}
Result<bool> GgufFile::boolean_or(std::string_view key, bool otherwise) const {
  if (!has(key)) return otherwise;
  return boolean(key);
}
Result<std::string_view> GgufFile::string_or(std::string_view key,
                                             std::string_view otherwise) const {
  if (!has(key)) return otherwise;
  return string(key);
}

const TensorView* GgufFile::find_tensor(std::string_view name) const {
  const auto found = tensor_index_.find(name);
  return found == tensor_index_.end() ? nullptr : &tensors_[found->second];
}

}  // namespace parkd
