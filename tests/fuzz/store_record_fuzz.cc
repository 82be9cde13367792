// Any bytes are a record of the embedded store or corrupt; a record has one encoding.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "lib/store/rocksdb/record_codec.h"

namespace {

// The first byte chooses the kind; the rest is the record.
template <class Decode>
void round_trip(Decode decode, std::string_view bytes) {
  const auto record = decode(bytes);
  if (!record.ok()) return;
  const std::string again = parkd::record::encode(*record);
  // A record of an older version is written anew in the present one.
  const bool is_older = bytes[0] != again[0];
  if (is_older ? !decode(again).ok() : again != bytes) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 8) {
    case 0:
      round_trip(parkd::record::decode_job, bytes);
      break;
    case 1:
      round_trip(parkd::record::decode_message, bytes);
      break;
    case 2:
      round_trip(parkd::record::decode_history, bytes);
      break;
    case 3:
      round_trip(parkd::record::decode_key, bytes);
      break;
    case 5:
      round_trip(parkd::record::decode_request, bytes);
      break;
    case 6:
      round_trip(parkd::record::decode_batch, bytes);
      break;
    case 7:
      round_trip(parkd::record::decode_undelivered, bytes);
      break;
    case 4: {
      const auto due = parkd::record::decode_due_key(bytes);
      if (due.ok() && parkd::record::due_key(*due) != bytes) std::abort();
      break;
    }
  }
  return 0;
}
