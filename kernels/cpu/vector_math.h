// exp on the 16-lane vectors, the same operations in the same order everywhere.
// Included after one simd_*.h.
#pragma once

namespace parkd::cpu {
namespace {

// e^x within 2 ulp for x in [-87, 88]; outside it is clamped, NaN stays NaN. Cody and Waite's
// reduction x = k ln 2 + r, then a polynomial of degree 6 on |r| <= ln 2 / 2.
inline F32x16 exponential(F32x16 x) {
  x = minimum(broadcast(88.0F), maximum(broadcast(-87.0F), x));
  const F32x16 magic = broadcast(12582912.0F);  // 1.5 * 2^23: adding it rounds to an integer
  const F32x16 shifted = fma(x, broadcast(1.44269504F), magic);
  const F32x16 k = subtract(shifted, magic);
  F32x16 r = fma(k, broadcast(-0.693359375F), x);
  r = fma(k, broadcast(2.12194440e-4F), r);
  F32x16 p = broadcast(1.0F / 720);
  p = fma(p, r, broadcast(1.0F / 120));
  p = fma(p, r, broadcast(1.0F / 24));
  p = fma(p, r, broadcast(1.0F / 6));
  p = fma(p, r, broadcast(0.5F));
  p = fma(p, r, broadcast(1.0F));
  p = fma(p, r, broadcast(1.0F));
  return scale_by_power(p, shifted);
}

}  // namespace
}  // namespace parkd::cpu
