// XXH3, 64 bits, seed 0: the checksum that RocksDB puts over the blocks of its tables, and that
// parkd puts over the pieces of files. Written from the specification (github.com/Cyan4973/xxHash,
// doc/xxhash_spec.md). Against damage, not against an attacker. Pure.
#pragma once

#include <cstdint>
#include <string_view>

namespace parkd {

uint64_t xxh3_64(std::string_view bytes);

}  // namespace parkd
