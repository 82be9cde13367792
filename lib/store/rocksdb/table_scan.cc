#include "lib/store/rocksdb/table_scan.h"

#include <lz4.h>

#include <algorithm>
#include <utility>

#include "lib/base/xxh3.h"
#include "lib/store/rocksdb/wal_scan.h"

namespace parkd::wal {
namespace {

constexpr uint64_t kMagic = 0x88e241b785f4cff7;
constexpr size_t kFooterBytes = 53;  // checksum type (1), two handles (40), version (4), magic (8)
constexpr size_t kTrailerBytes = 5;  // compression (1), checksum (4)
constexpr char kNoCompression = 0, kLz4 = 4;
constexpr uint8_t kChecksumCrc32c = 1, kChecksumXxh3 = 4;
constexpr uint64_t kBlockBytesMax = uint64_t{256} << 20;  // uncompressed: a row is far smaller
constexpr size_t kInternalKeyBytes = 8;                   // sequence and type, behind a user's key
constexpr uint8_t kDeletion = 0, kValue = 1, kSingleDeletion = 7;

class Bytes {
 public:
  explicit Bytes(std::string_view rest) : rest_(rest) {}
  bool ok() const { return is_ok_; }
  bool at_end() const { return rest_.empty(); }
  std::string_view rest() const { return rest_; }

  uint64_t varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_.front());
      rest_.remove_prefix(1);
      value |= uint64_t{byte & 0x7fu} << shift;
      if ((byte & 0x80u) == 0) return value;
    }
    return fail();
  }
  std::string_view take(uint64_t n) {
    if (n > rest_.size()) {
      (void)fail();
      return {};
    }
    const std::string_view taken = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return taken;
  }

 private:
  uint64_t fail() {
    is_ok_ = false;
    rest_ = {};
    return 0;
  }
  std::string_view rest_;
  bool is_ok_ = true;
};

uint64_t little_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    value |= uint64_t{static_cast<unsigned char>(bytes[i])} << (8 * i);
  }
  return value;
}

// A block ends in the offsets at which keys are whole, and their count.
std::optional<std::string_view> entries_of(std::string_view block) {
  if (block.size() < 4) return std::nullopt;
  const uint64_t n_restarts = little_endian(block.substr(block.size() - 4)) & 0x7fffffff;
  if (n_restarts > (block.size() - 4) / 4) return std::nullopt;
  return block.substr(0, block.size() - 4 - 4 * n_restarts);
}

// Entries of a block whose values have their length beside them. False: they cannot be decoded.
bool each_entry(std::string_view block,
                const std::function<bool(const std::string& key, std::string_view value)>& entry) {
  const auto entries = entries_of(block);
  if (!entries) return false;
  Bytes in(*entries);
  std::string key;
  while (!in.at_end()) {
    const uint64_t n_shared = in.varint();
    const uint64_t n_own = in.varint();
    const uint64_t n_value = in.varint();
    if (!in.ok() || n_shared > key.size()) return false;
    key.resize(n_shared);
    key += in.take(n_own);
    const std::string_view value = in.take(n_value);
    if (!in.ok() || !entry(key, value)) return false;
  }
  return in.ok();
}

}  // namespace

std::optional<std::string> decode_lz4_block(std::string_view bytes) {
  Bytes in(bytes);
  const uint64_t n_bytes = in.varint();
  // LZ4 makes at most 255 of one byte: a length that is a lie is not allocated.
  if (!in.ok() || n_bytes > kBlockBytesMax || n_bytes / 255 > in.rest().size()) {
    return std::nullopt;
  }
  std::string out(n_bytes, '\0');
  const int n = LZ4_decompress_safe(in.rest().data(), out.data(),
                                    static_cast<int>(in.rest().size()), static_cast<int>(n_bytes));
  if (n < 0 || static_cast<uint64_t>(n) != n_bytes) return std::nullopt;
  return out;
}

bool decode_data_block(std::string_view block, const std::function<void(const TableRow&)>& row) {
  struct Decoded {
    std::string key;
    std::string_view value;
    uint64_t packed = 0;
  };
  std::vector<Decoded> rows;
  const bool is_whole = each_entry(block, [&rows](const std::string& key, std::string_view value) {
    if (key.size() <= kInternalKeyBytes) return false;
    const size_t n_user = key.size() - kInternalKeyBytes;
    const uint64_t packed = little_endian(std::string_view(key).substr(n_user));
    const auto type = static_cast<uint8_t>(packed);
    if (type != kDeletion && type != kValue && type != kSingleDeletion) return false;
    if (!rows.empty() && key.compare(0, n_user, rows.back().key) < 0) return false;
    rows.push_back({key.substr(0, n_user), value, packed});
    return true;
  });
  if (!is_whole) return false;
  for (const Decoded& at : rows) {
    row({at.key, at.value, at.packed >> 8, static_cast<uint8_t>(at.packed) == kValue});
  }
  return true;
}

TableScan::TableScan(std::string_view bytes) : bytes_(bytes) {
  Handle metaindex, index;
  if (read_footer(metaindex, index)) {
    read_properties(metaindex);
    is_index_lost_ = !read_index(index);
  } else {
    is_index_lost_ = true;
  }
  if (is_index_lost_) blocks_.clear();
}

bool TableScan::read_footer(Handle& metaindex, Handle& index) {
  if (bytes_.size() < kFooterBytes) return false;
  const std::string_view footer = bytes_.substr(bytes_.size() - kFooterBytes);
  if (little_endian(footer.substr(45)) != kMagic) return false;
  const uint64_t version = little_endian(footer.substr(41, 4));
  const auto checksum = static_cast<uint8_t>(footer[0]);
  if (version < 2 || version > 5) return false;
  if (checksum != kChecksumCrc32c && checksum != kChecksumXxh3) return false;
  checksum_type_ = checksum;
  Bytes handles(footer.substr(1, 40));
  metaindex.offset = handles.varint();
  metaindex.n_bytes = handles.varint();
  index.offset = handles.varint();
  index.n_bytes = handles.varint();
  return handles.ok();
}

void TableScan::read_properties(const Handle& metaindex) {
  const auto metas = read_block(metaindex);
  if (!metas) return;
  std::optional<Handle> place;
  (void)each_entry(*metas, [&place](const std::string& key, std::string_view value) {
    Bytes in(value);
    if (key != "rocksdb.properties") return true;
    Handle handle;
    handle.offset = in.varint();
    handle.n_bytes = in.varint();
    if (in.ok()) place = handle;
    return true;
  });
  const auto properties = place ? read_block(*place) : std::nullopt;
  if (!properties) return;
  (void)each_entry(*properties, [this](const std::string& key, std::string_view value) {
    if (key == "rocksdb.column.family.name") family_name_ = std::string(value);
    if (key == "rocksdb.num.entries") {
      Bytes in(value);
      n_rows_ = in.varint();
    }
    if (key == "rocksdb.column.family.id") {
      Bytes in(value);
      const uint64_t id = in.varint();
      if (in.ok() && id < 0x7fffffff) family_ = static_cast<uint32_t>(id);
    }
    return true;
  });
}

// Its keys are not needed. From version 4 on, an entry whose key shares bytes with the one before
// it says only how much larger its block is (no restart point); we write none, and they are
// refused.
bool TableScan::read_index(const Handle& index) {
  const auto block = read_block(index);
  if (!block) return false;
  const auto entries = entries_of(*block);
  if (!entries) return false;
  const bool has_lengths = little_endian(bytes_.substr(bytes_.size() - 12, 4)) < 4;
  Bytes in(*entries);
  uint64_t end = 0;
  while (!in.at_end()) {
    const uint64_t n_shared = in.varint();
    const uint64_t n_own = in.varint();
    if (has_lengths) (void)in.varint();
    (void)in.take(n_own);
    Handle handle;
    handle.offset = in.varint();
    handle.n_bytes = in.varint();
    if (!in.ok() || n_shared != 0 || handle.offset < end || handle.offset > bytes_.size() ||
        handle.n_bytes > bytes_.size()) {
      return false;
    }
    end = handle.offset + handle.n_bytes + kTrailerBytes;
    blocks_.push_back(handle);
  }
  return in.ok();
}

bool TableScan::is_whole(const Handle& handle) const {
  if (handle.offset > bytes_.size() || handle.n_bytes > bytes_.size()) return false;
  if (handle.offset + handle.n_bytes + kTrailerBytes > bytes_.size()) return false;
  const std::string_view payload = bytes_.substr(handle.offset, handle.n_bytes);
  const std::string_view trailer = bytes_.substr(handle.offset + handle.n_bytes, kTrailerBytes);
  const uint64_t stored = little_endian(trailer.substr(1));
  if (checksum_type_ == kChecksumCrc32c) {
    const uint32_t sum = crc32c(bytes_.substr(handle.offset, handle.n_bytes + 1));
    return stored == ((sum >> 15) | (sum << 17)) + 0xa282ead8u;
  }
  const uint32_t last = static_cast<unsigned char>(trailer[0]) * 0x6b9083d9u;
  return stored == (static_cast<uint32_t>(xxh3_64(payload)) ^ last);
}

std::optional<std::string> TableScan::read_block(const Handle& handle) const {
  if (!is_whole(handle)) return std::nullopt;
  const std::string_view bytes = bytes_.substr(handle.offset, handle.n_bytes);
  if (bytes.size() > kBlockBytesMax) return std::nullopt;
  const char compression = bytes_[handle.offset + handle.n_bytes];
  if (compression == kNoCompression) return std::string(bytes);
  return compression == kLz4 ? decode_lz4_block(bytes) : std::nullopt;
}

// The block that begins at `offset`, wherever it ends: its checksum says where. `work_left`: bytes
// that may still be summed up, so that one large row costs no day.
std::optional<TableScan::Handle> TableScan::find_block(uint64_t offset, size_t& work_left) const {
  for (uint64_t n = 0; offset + n + kTrailerBytes <= bytes_.size(); ++n) {
    const char compression = bytes_[offset + n];
    if (compression != kNoCompression && compression != kLz4) continue;
    if (n > work_left) return std::nullopt;
    work_left -= n;
    const Handle handle{offset, n};
    if (is_whole(handle)) return handle;
  }
  return std::nullopt;
}

std::vector<TableGap> TableScan::read(const std::function<void(const TableRow&)>& row) const {
  std::vector<TableGap> gaps;
  std::string last;
  bool in_gap = false;
  uint64_t n_read = 0;
  const auto visit = [&](const TableRow& at) {
    ++n_read;
    if (in_gap) gaps.back().before = std::string(at.key);
    in_gap = false;
    last = at.key;
    row(at);
  };
  const auto note_gap = [&](uint64_t offset, uint64_t n_bytes) {
    if (in_gap) {
      gaps.back().n_bytes = offset + n_bytes - gaps.back().offset;
      return;
    }
    gaps.push_back({offset, n_bytes, last, std::nullopt});
    in_gap = true;
  };
  if (!is_index_lost_) {
    for (const Handle& handle : blocks_) {
      const auto block = read_block(handle);
      if (!block || !decode_data_block(*block, visit)) note_gap(handle.offset, handle.n_bytes);
    }
    return gaps;
  }
  size_t work_left = size_t{16} << 30;
  uint64_t offset = 0;
  while (offset < bytes_.size()) {
    const auto handle = find_block(offset, work_left);
    if (!handle) break;
    const auto block = read_block(*handle);
    if (!block || !decode_data_block(*block, visit)) break;
    offset = handle->offset + handle->n_bytes + kTrailerBytes;
  }
  // Without its count of rows it is not known whether there are any behind: that is said.
  if (!n_rows_ || n_read != *n_rows_) note_gap(offset, bytes_.size() - offset);
  return gaps;
}

}  // namespace parkd::wal
