#include "lib/model/decoder_numbers.h"

#include <string>

namespace parkd {

std::vector<float> frequencies_of(const RopeNumbers& rope, int32_t head_dim) {
  switch (rope.scaling) {
    case RopeScaling::linear:
      return linear_rope(head_dim, rope.base, rope.factor);
    case RopeScaling::llama3:
      return llama3_rope(head_dim, rope.base, rope.llama3);
    case RopeScaling::yarn:
      return yarn_rope(head_dim, rope.base, rope.yarn);
    case RopeScaling::none:
      break;
  }
  if (rope.divisors.empty()) return plain_rope(head_dim, rope.base);
  return divided_rope(head_dim, rope.base, rope.divisors);
}

Status check_numbers(const DecoderNumbers& numbers) {
  if (numbers.n_heads % numbers.n_kv_heads != 0) {
    return corrupt(std::to_string(numbers.n_heads) + " heads are no multiple of " +
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
