#include "lib/job/json_memory.h"

#include <algorithm>
#include <boost/json/serializer.hpp>
#include <boost/json/stream_parser.hpp>
#include <new>
#include <string>

namespace parkd {

namespace json = boost::json;

namespace {

constexpr size_t kStepBytes = 256 << 10;  // so that a shared budget is asked rarely
constexpr size_t kShownBytes = 60;

}  // namespace

size_t json_memory_bytes_max(size_t text_bytes) {
  return std::max(kJsonMemoryFloorBytes, kJsonMemoryFactor * text_bytes);
}

void* JsonMemory::do_allocate(size_t bytes, size_t alignment) {
  if (bytes > bytes_max_ - std::min(bytes_max_, held_bytes_)) {
    refusal_ = invalid("the JSON takes more than " + std::to_string(bytes_max_) +
                       " bytes of memory to read, " + std::to_string(kJsonMemoryFactor) +
                       " times its own size: it has too many small values");
    throw std::bad_alloc();
  }
  if (held_bytes_ + bytes > granted_bytes_ && grow_) {
    const size_t step = std::min(std::max(kStepBytes, held_bytes_ + bytes - granted_bytes_),
                                 bytes_max_ - granted_bytes_);
    if (Status status = grow_(step); !status.ok()) {
      refusal_ = std::move(status);
      throw std::bad_alloc();
    }
    granted_bytes_ += step;
  }
  void* const memory = ::operator new(bytes, std::align_val_t(alignment));
  held_bytes_ += bytes;
  peak_bytes_ = std::max(peak_bytes_, held_bytes_);
  return memory;
}

void JsonMemory::do_deallocate(void* memory, size_t bytes, size_t alignment) {
  ::operator delete(memory, std::align_val_t(alignment));
  held_bytes_ -= bytes;
}

Result<json::value> read_json(std::string_view text, size_t depth_max, JsonMemory& memory) {
  json::parse_options options;
  options.max_depth = depth_max;
  json::error_code error;
  try {
    json::stream_parser parser(json::storage_ptr(&memory), options);
    parser.reset(json::storage_ptr(&memory));
    parser.write(text.data(), text.size(), error);
    if (!error) parser.finish(error);
    if (!error) return parser.release();
  } catch (const std::bad_alloc&) {
    if (!memory.refusal().ok()) return memory.refusal();
    return unavailable("parkd has no memory left to read the request");
  }
  if (error == json::error::too_deep) {
    return invalid("the request is nested deeper than " + std::to_string(depth_max) + " levels");
  }
  return invalid("the request is not JSON: " + error.message());
}

std::string shown_name(std::string_view name) {
  if (name.size() <= kShownBytes) return std::string(name);
  size_t end = kShownBytes;  // before the code point that would straddle the limit
  while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xc0) == 0x80) --end;
  return std::string(name.substr(0, end));
}

std::string shown_json(const json::value& value) {
  char buffer[2 * kShownBytes];
  json::serializer serializer;
  serializer.reset(&value);
  const json::string_view start = serializer.read(buffer, sizeof buffer);
  std::string shown = shown_name({start.data(), start.size()});
  if (shown.size() < start.size()) shown += "...";
  return shown;
}

}  // namespace parkd
