// A decoder's numbers out of a GGUF file's keys. Pure functions over one file, any thread.
#pragma once

#include <span>
#include <string_view>

#include "lib/base/status.h"
#include "lib/model/decoder_numbers.h"
#include "lib/weights/gguf.h"

namespace parkd {

// The tensors that the rope's divisors are in.
std::span<const std::string_view> gguf_rope_tensors(std::string_view architecture);

// Keys are `architecture` + "." + name. Errors: corrupt for what contradicts itself or is absurd,
// invalid for what is sound and not supported yet (a rope's scaling, experts, windows); both name
// the file, the key, its value and the limits.
Result<DecoderNumbers> read_gguf_numbers(const GgufFile& file, std::string_view architecture);

}  // namespace parkd
