#include "lib/weights/safetensors.h"

#include <algorithm>
#include <array>
#include <bit>
#include <boost/json.hpp>
#include <cstring>
#include <optional>
#include <utility>

#include "lib/base/json_reader.h"
#include "lib/base/json_writer.h"

namespace parkd {
namespace {

namespace json = boost::json;

static_assert(std::endian::native == std::endian::little, "numbers are read as they lie");

constexpr size_t kHeaderDepth = 3;  // the header, a tensor, its shape
constexpr uint64_t kDimensionMax = uint64_t{1} << 40;

struct StoredType {
  std::string_view name;
  uint64_t bytes;
  std::optional<TensorType> type;  // where it is one that we read
};

constexpr std::array<StoredType, 16> kDtypes = {{
    {"F32", 4, TensorType::f32},
    {"F16", 2, TensorType::f16},
    {"BF16", 2, TensorType::bf16},
    {"F64", 8, std::nullopt},
    {"F8_E4M3", 1, std::nullopt},
    {"F8_E5M2", 1, std::nullopt},
    {"F8_E8M0", 1, std::nullopt},
    {"I64", 8, std::nullopt},
    {"I32", 4, std::nullopt},
    {"I16", 2, std::nullopt},
    {"I8", 1, std::nullopt},
    {"U64", 8, std::nullopt},
    {"U32", 4, std::nullopt},
    {"U16", 2, std::nullopt},
    {"U8", 1, std::nullopt},
    {"BOOL", 1, std::nullopt},
}};

const StoredType* find_dtype(std::string_view name) {
  for (const StoredType& dtype : kDtypes) {
    if (dtype.name == name) return &dtype;
  }
  return nullptr;
}

// A whole number of at least 0.
std::optional<uint64_t> count_of(const json::value& value) {
  const json::value* number = &value;
  if (!number->is_int64() || number->get_int64() < 0) return std::nullopt;
  return static_cast<uint64_t>(number->get_int64());
}

std::string shape_text(std::span<const uint64_t> shape) {
  std::string text;
  for (const uint64_t size : shape) text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "[" + text + "]";
}

}  // namespace

// The one pass over a file's header.
class SafetensorsReader {
 public:
  explicit SafetensorsReader(SafetensorsFile& file) : file_(file) {}

  Status read() {
    PARKD_ASSIGN_OR_RETURN(const std::string_view text, header_text());
    JsonMemory memory(text.size());
    PARKD_ASSIGN_OR_RETURN(
        const json::value header,
        read_json(text, file_.file_->error_text("its header"), kHeaderDepth, memory));
    const json::object* entries = header.if_object();
    if (entries == nullptr) return damaged("its header is not a JSON object");
    if (entries->size() > kSafetensorsTensorsMax) {
      return damaged("has " + std::to_string(entries->size()) + " tensors, the limit is " +
                     std::to_string(kSafetensorsTensorsMax));
    }
    for (const auto& entry : *entries) {
      const std::string_view name = entry.key();
      if (name == "__metadata__") {
        PARKD_RETURN_IF_ERROR(check_metadata(entry.value()));
      } else {
        PARKD_RETURN_IF_ERROR(read_tensor(name, entry.value()));
      }
    }
    return place_tensors();
  }

 private:
  struct Placed {
    std::string name;
    const StoredType* dtype =
        nullptr;  // null: one that the format did not have when this was written
    std::string dtype_name;
    std::vector<uint64_t> shape;
    uint64_t begin = 0;  // of the data
    uint64_t end = 0;
  };

  Status damaged(const std::string& what) const { return corrupt(file_.file_->error_text(what)); }

  Result<std::string_view> header_text() {
    const std::span<const uint8_t> bytes = file_.bytes();
    uint64_t length = 0;
    if (bytes.size() < sizeof length) {
      return damaged("is " + std::to_string(bytes.size()) +
                     " bytes long, a safetensors file begins with the 8 of its header's length");
    }
    std::memcpy(&length, bytes.data(), sizeof length);
    if (length > kSafetensorsHeaderBytesMax) {
      return damaged("its header is " + std::to_string(length) + " bytes long, the limit is " +
                     std::to_string(kSafetensorsHeaderBytesMax) +
                     "; or it is not a safetensors file");
    }
    if (length > bytes.size() - sizeof length) {
      return damaged("its header needs " + std::to_string(length) + " bytes, the file has " +
                     std::to_string(bytes.size() - sizeof length) + " left");
    }
    file_.header_bytes_ = sizeof length + length;
    return file_.file_->text().substr(sizeof length, length);
  }

  Status check_metadata(const json::value& value) const {
    const json::object* metadata = value.if_object();
    if (metadata == nullptr) return damaged("\"__metadata__\" is not an object");
    for (const auto& member : *metadata) {
      if (!member.value().is_string()) {
        return damaged("\"__metadata__\" has " + shown(member.key()) + " that is not a string");
      }
    }
    return {};
  }

  static std::string shown(std::string_view name) { return json_string(shown_name(name)); }

  Status read_tensor(std::string_view name, const json::value& value) {
    const std::string where = "tensor " + shown(name);
    if (name.empty() || name.size() > kSafetensorsNameBytesMax) {
      return damaged(where + ": a name has 1 to " + std::to_string(kSafetensorsNameBytesMax) +
                     " bytes");
    }
    const json::object* entry = value.if_object();
    const json::value* dtype = entry == nullptr ? nullptr : entry->if_contains("dtype");
    const json::value* shape = entry == nullptr ? nullptr : entry->if_contains("shape");
    const json::value* offsets = entry == nullptr ? nullptr : entry->if_contains("data_offsets");
    if (dtype == nullptr || shape == nullptr || offsets == nullptr || entry->size() != 3 ||
        !dtype->is_string() || !shape->is_array() || !offsets->is_array()) {
      return damaged(where + " must have dtype, shape and data_offsets, and nothing else");
    }
    Placed tensor;
    tensor.name = name;
    tensor.dtype_name = shown_name(dtype->get_string());
    tensor.dtype = find_dtype(dtype->get_string());
    PARKD_RETURN_IF_ERROR(read_shape(shape->get_array(), where, tensor));
    PARKD_RETURN_IF_ERROR(read_offsets(offsets->get_array(), where, tensor));
    tensors_.push_back(std::move(tensor));
    return {};
  }

  Status read_shape(const json::array& sizes, const std::string& where, Placed& tensor) const {
    if (sizes.size() > kSafetensorsDimensionsMax) {
      return damaged(where + " has " + std::to_string(sizes.size()) + " dimensions, the limit is " +
                     std::to_string(kSafetensorsDimensionsMax));
    }
    for (const json::value& size : sizes) {
      const std::optional<uint64_t> count = count_of(size);
      if (!count || *count > kDimensionMax) {
        return damaged(where + " has dimension " + shown_json(size) +
                       ", the limits are 0 and 2^40");
      }
      tensor.shape.push_back(*count);
    }
    return {};
  }

  Status read_offsets(const json::array& offsets, const std::string& where, Placed& tensor) const {
    const auto begin = offsets.size() == 2 ? count_of(offsets[0]) : std::nullopt;
    const auto end = offsets.size() == 2 ? count_of(offsets[1]) : std::nullopt;
    if (!begin || !end || *begin > *end) {
      return damaged(where + ": data_offsets is " + shown_json(offsets) +
                     ", it must be [begin, end], begin at most end");
    }
    tensor.begin = *begin;
    tensor.end = *end;
    if (tensor.dtype == nullptr) return {};
    uint64_t bytes = tensor.dtype->bytes;
    for (const uint64_t size : tensor.shape) {
      if (__builtin_mul_overflow(bytes, size, &bytes)) {
        return damaged(where + " is larger than 2^64 bytes");
      }
    }
    if (bytes != *end - *begin) {
      return damaged(where + " has " + std::to_string(*end - *begin) + " bytes where " +
                     tensor.dtype_name + " " + shape_text(tensor.shape) + " asks " +
                     std::to_string(bytes));
    }
    return {};
  }

  Status place_tensors() {
    std::sort(tensors_.begin(), tensors_.end(), [](const Placed& a, const Placed& b) {
      return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
    });
    const std::span<const uint8_t> data = file_.bytes().subspan(file_.header_bytes_);
    uint64_t at = 0;
    for (const Placed& tensor : tensors_) {
      if (tensor.begin != at) {
        return damaged("tensor " + shown(tensor.name) + " begins at byte " +
                       std::to_string(tensor.begin) +
                       " of the data, where what is before it ends "
                       "at " +
                       std::to_string(at) + ": no holes or overlaps are allowed");
      }
      at = tensor.end;
    }
    if (at != data.size()) {
      return damaged("its tensors need " + std::to_string(at) + " bytes of data, the file has " +
                     std::to_string(data.size()) +
                     (at > data.size() ? ": it is cut off, fetch it again" : ""));
    }
    file_.names_.reserve(tensors_.size());  // the views point into it
    for (Placed& tensor : tensors_) add(std::move(tensor), data);
    return {};
  }

  void add(Placed tensor, std::span<const uint8_t> data) {
    const std::string_view name = file_.names_.emplace_back(std::move(tensor.name));
    const size_t n_dimensions = tensor.shape.size();
    if (tensor.dtype_name == "F8_E4M3" && n_dimensions == 2 && tensor.begin < tensor.end) {
      file_.float8_.push_back({name, static_cast<int64_t>(tensor.shape[0]),
                               static_cast<int64_t>(tensor.shape[1]),
                               data.subspan(tensor.begin, tensor.end - tensor.begin)});
    } else if (tensor.dtype == nullptr || !tensor.dtype->type) {
      file_.unread_.push_back({name, tensor.dtype_name + " is not supported yet"});
    } else if (n_dimensions > 2) {
      file_.unread_.push_back(
          {name, std::to_string(n_dimensions) + " dimensions are not supported, 2 at most are"});
    } else if (tensor.begin == tensor.end) {
      file_.unread_.push_back({name, "it has no elements"});
    } else {
      TensorView view;
      view.name = name;
      view.type = *tensor.dtype->type;
      view.rows = n_dimensions < 2 ? 1 : static_cast<int64_t>(tensor.shape[0]);
      view.columns = n_dimensions < 1 ? 1 : static_cast<int64_t>(tensor.shape.back());
      view.bytes = data.subspan(tensor.begin, tensor.end - tensor.begin);
      file_.tensors_.push_back(view);
    }
  }

  SafetensorsFile& file_;
  std::vector<Placed> tensors_;
};

Result<std::shared_ptr<const SafetensorsFile>> SafetensorsFile::read(
    std::shared_ptr<const MappedFile> file) {
  const std::shared_ptr<SafetensorsFile> made(new SafetensorsFile(std::move(file)));
  PARKD_RETURN_IF_ERROR(SafetensorsReader(*made).read());
  return std::shared_ptr<const SafetensorsFile>(made);
}

}  // namespace parkd
