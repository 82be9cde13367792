#include "lib/model/shape.h"

#include <cmath>
#include <string>

namespace parkd {

Status check_layers(const ModelShape& shape) {
  if (shape.ropes.empty()) return invalid("the model's shape has no rope");
  for (const Rope& rope : shape.ropes) {
    if (!(std::isfinite(rope.amplitude) && rope.amplitude > 0)) {
      return invalid("a rope's amplitude that is not a positive number");
    }
    if (static_cast<int64_t>(rope.inv_freq.size()) == shape.head_dim / 2) continue;
    return invalid(std::to_string(rope.inv_freq.size()) + " rope frequencies where head_dim " +
                   std::to_string(shape.head_dim) + " asks half as many as itself");
  }
  const auto n_ropes = static_cast<int64_t>(shape.ropes.size());
  if (!(std::isfinite(shape.embedding_scale) && shape.embedding_scale > 0)) {
    return invalid("an embedding scale that is not a positive number");
  }
  for (size_t layer = 0; layer < shape.layers.size(); ++layer) {
    const LayerPlan& plan = shape.layers[layer];
    const std::string name = "layer " + std::to_string(layer);
    if (plan.rope != kNoRope && (plan.rope < 0 || plan.rope >= n_ropes)) {
      return invalid(name + " asks for rope " + std::to_string(plan.rope) + " of " +
                     std::to_string(n_ropes));
    }
    if (plan.window < 0) {
      return invalid(name + " has a window of " + std::to_string(plan.window) + " tokens");
    }
    if (!std::isfinite(plan.query_scale.beta) || plan.query_scale.period < 1) {
      return invalid(name + " scales its queries every " + std::to_string(plan.query_scale.period) +
                     " tokens, the least is 1");
    }
  }
  return {};
}

}  // namespace parkd
