#include "lib/model/decoder_numbers.h"

#include <string>

namespace parkd {

namespace {

// Of a head of `n_turned` numbers.
std::vector<float> frequencies_of(const RopeNumbers& rope, int32_t n_turned) {
  switch (rope.scaling) {
    case RopeScaling::linear:
      return linear_rope(n_turned, rope.base, rope.factor);
    case RopeScaling::llama3:
      return llama3_rope(n_turned, rope.base, rope.llama3);
    case RopeScaling::yarn:
      return yarn_rope(n_turned, rope.base, rope.yarn);
    case RopeScaling::none:
      break;
  }
  if (rope.divisors.empty()) return plain_rope(n_turned, rope.base);
  return divided_rope(n_turned, rope.base, rope.divisors);
}

}  // namespace

Rope rope_of(const RopeNumbers& rope, RopeLayout layout, int32_t head_dim) {
  const bool is_yarn = rope.scaling == RopeScaling::yarn;
  Rope made;
  made.layout = layout;
  made.inv_freq = frequencies_of(rope, rope.n_turned > 0 ? rope.n_turned : head_dim);
  made.inv_freq.resize(static_cast<size_t>(head_dim) / 2, 0);
  made.amplitude = static_cast<float>(is_yarn ? yarn_attention_factor(rope.yarn) : rope.amplitude);
  return made;
}

Status check_numbers(const DecoderNumbers& numbers) {
  if (numbers.n_heads % numbers.n_kv_heads != 0) {
    return corrupt(std::to_string(numbers.n_heads) + " heads are not a multiple of " +
                   std::to_string(numbers.n_kv_heads) + " heads of keys and values");
  }
  if (numbers.head_dim < 2 || numbers.head_dim % 2 != 0 ||
      int64_t{numbers.head_dim} * numbers.n_heads > kWidthMax) {
    return corrupt("a head of " + std::to_string(numbers.head_dim) + " x " +
                   std::to_string(numbers.n_heads) +
                   " heads: it must be even, and all of them at "
                   "most " +
                   std::to_string(kWidthMax));
  }
  return {};
}

}  // namespace parkd
