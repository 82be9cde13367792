#include "lib/store/folder/file_record.h"

#include <optional>

#include "lib/base/xxh3.h"
#include "lib/job/bounds.h"
#include "lib/store/file_store.h"

namespace parkd {
namespace {

constexpr std::string_view kMagic = "parkdfl1";
constexpr size_t kRecordBytesMax = 1 << 20;  // a file of 128 GiB

void put(std::string& out, uint64_t value) {
  for (int i = 0; i < 8; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

void put(std::string& out, std::string_view text) {
  put(out, uint64_t{text.size()});
  out += text;
}

uint64_t number_at(std::string_view bytes, size_t at) {
  uint64_t value = 0;
  for (size_t i = 0; i < 8; ++i) {
    value |= uint64_t{static_cast<unsigned char>(bytes[at + i])} << (8 * i);
  }
  return value;
}

// Takes a record apart from its front. What is not there makes it bad, and then everything is
// empty.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : left_(bytes) {}

  uint64_t number() {
    if (left_.size() < 8) return bad();
    const uint64_t value = number_at(left_, 0);
    left_.remove_prefix(8);
    return value;
  }
  int64_t signed_number() { return static_cast<int64_t>(number()); }
  std::string text() {
    const uint64_t size = number();
    if (size > left_.size() || size > kTextBytesMax) {
      bad();
      return {};
    }
    std::string text(left_.substr(0, size));
    left_.remove_prefix(size);
    return text;
  }
  bool ended_well() const { return !is_bad_ && left_.empty(); }

 private:
  uint64_t bad() {
    is_bad_ = true;
    left_ = {};
    return 0;
  }

  std::string_view left_;
  bool is_bad_ = false;
};

Status damaged(std::string_view what) {
  return corrupt("what stands behind its bytes is damaged: " + std::string(what));
}

}  // namespace

std::string FileRecord::encode() const {
  std::string out;
  put(out, file.id);
  put(out, file.tenant);
  put(out, file.filename);
  put(out, file.purpose);
  put(out, static_cast<uint64_t>(file.bytes));
  put(out, static_cast<uint64_t>(to_unix_us(file.created_at)));
  put(out, static_cast<uint64_t>(to_unix_us(file.expires_at)));
  put(out, uint64_t{sums.size()});
  for (const uint64_t sum : sums) put(out, sum);
  const size_t n_bytes = out.size();
  put(out, xxh3_64(out));
  put(out, uint64_t{n_bytes});
  return out.append(kMagic);
}

Result<size_t> record_bytes_behind(std::string_view tail) {
  if (tail.size() < kFileTailBytes || tail.substr(tail.size() - kMagic.size()) != kMagic) {
    return damaged("it does not end as parkd's files do");
  }
  const uint64_t n_bytes = number_at(tail, tail.size() - 16);
  if (n_bytes > kRecordBytesMax) return damaged("its length");
  return static_cast<size_t>(n_bytes) + kFileTailBytes;
}

Result<FileRecord> decode_file_record(std::string_view behind) {
  PARKD_ASSIGN_OR_RETURN(const size_t n_behind, record_bytes_behind(behind));
  if (n_behind != behind.size()) return damaged("its length");
  const std::string_view bytes = behind.substr(0, behind.size() - kFileTailBytes);
  if (xxh3_64(bytes) != number_at(behind, bytes.size())) return damaged("its checksum");
  Reader reader(bytes);
  FileRecord record;
  record.file.id = reader.text();
  record.file.tenant = reader.text();
  record.file.filename = reader.text();
  record.file.purpose = reader.text();
  record.file.bytes = reader.signed_number();
  record.file.created_at = from_unix_us(reader.signed_number());
  record.file.expires_at = from_unix_us(reader.signed_number());
  const uint64_t n_sums = reader.number();
  const auto n_pieces = static_cast<uint64_t>(record.file.bytes) / kFilePieceBytes +
                        (static_cast<uint64_t>(record.file.bytes) % kFilePieceBytes != 0 ? 1 : 0);
  if (n_sums != n_pieces || n_sums > bytes.size() / 8) return damaged("its number of pieces");
  for (uint64_t i = 0; i < n_sums; ++i) record.sums.push_back(reader.number());
  if (!reader.ended_well()) return damaged("its form");
  return record;
}

}  // namespace parkd
