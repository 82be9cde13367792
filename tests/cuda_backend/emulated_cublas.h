// The cuBLAS that the backend finds in its tests without a GPU: which it is, and what was asked of
// it.
#pragma once

#include <cstdint>

namespace parkd::testing {

// wrong: every product is a fifth too large; wrong_in_graphs: those that are captured are
enum class Cublas { right, wrong, wrong_in_graphs, missing };
// Counts for what is loaded from then on.
void set_cublas(Cublas cublas);

// Products that were captured into a graph and had not run before with their shape on their handle:
// cuBLAS may load and allocate for a new shape, which a capture forbids.
int64_t n_products_captured_cold();
// Different shapes that were captured.
int64_t n_products_captured();

}  // namespace parkd::testing
