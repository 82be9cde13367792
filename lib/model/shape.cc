#include "lib/model/shape.h"

#include <string>

namespace parkd {

Status check_ropes(const ModelShape& shape) {
  if (shape.ropes.empty()) return invalid("the model's shape has no rope");
  for (const Rope& rope : shape.ropes) {
    if (static_cast<int64_t>(rope.inv_freq.size()) == shape.head_dim / 2) continue;
    return invalid(std::to_string(rope.inv_freq.size()) + " rope frequencies where head_dim " +
                   std::to_string(shape.head_dim) + " asks half as many as itself");
  }
  const auto n_ropes = static_cast<int64_t>(shape.ropes.size());
  for (size_t layer = 0; layer < shape.layers.size(); ++layer) {
    const int32_t rope = shape.layers[layer].rope;
    if (rope == kNoRope || (rope >= 0 && rope < n_ropes)) continue;
    return invalid("layer " + std::to_string(layer) + " asks for rope " + std::to_string(rope) +
                   " of " + std::to_string(n_ropes));
  }
  return {};
}

}  // namespace parkd
