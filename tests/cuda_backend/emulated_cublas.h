// Which cuBLAS the backend finds in its tests without a GPU. Counts for what is loaded from then
// on.
#pragma once

namespace parkd::testing {

enum class Cublas { right, wrong, missing };  // wrong: every product is a fifth too large
void set_cublas(Cublas cublas);

}  // namespace parkd::testing
