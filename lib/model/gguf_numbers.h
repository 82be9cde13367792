// A decoder's numbers out of a GGUF file's keys. Pure functions over one file, any thread.
#pragma once

#include <string_view>

#include "lib/base/status.h"
#include "lib/model/decoder_numbers.h"
#include "lib/weights/gguf.h"

namespace parkd {

// The tensor that the rope's divisors are in.
inline constexpr std::string_view kRopeDivisors = "rope_freqs.weight";

// Keys are `architecture` + "." + name. Errors: corrupt for what contradicts itself or is absurd,
// invalid for what is sound and not supported yet (scaled rope, heads that are rotated in part,
// experts, windows); both name the file, the key, its value and the limits.
Result<DecoderNumbers> read_gguf_numbers(const GgufFile& file, std::string_view architecture);

}  // namespace parkd
