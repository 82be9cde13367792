// A writer of every quantised type's blocks, made of their reader (kernels/common/block_formats.h):
// where a block keeps the bits of a code or a factor is found by turning the bits of an empty block
// one by one. Nearest codes to plain scales: no best quantiser. For tests.
#pragma once

#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <vector>

#include "kernels/common/block_formats.h"
#include "kernels/common/half.h"

namespace parkd::testing {

// Where a block of `n_bytes` has the bits of a number that `read` reads of it.
class BitPlaces {
 public:
  BitPlaces() = default;
  template <class Read>
  BitPlaces(size_t n_bytes, const Read& read) {
    std::vector<uint8_t> block(n_bytes);
    of_empty_ = read(block.data());
    for (size_t at = 0; at < n_bytes * 8; ++at) {
      block[at / 8] = static_cast<uint8_t>(1U << at % 8);
      const int change = read(block.data()) - of_empty_;
      block[at / 8] = 0;
      if (change == 0) continue;
      bit_at_.at(static_cast<size_t>(std::countr_zero(static_cast<unsigned>(std::abs(change))))) =
          static_cast<int>(at);
    }
  }

  // Into a block where the number's bits are 0.
  void write(uint8_t* block, int number) const {
    const auto bits = static_cast<unsigned>(number - of_empty_);
    for (size_t i = 0; i < bit_at_.size(); ++i) {
      const int at = bit_at_[i];
      if (at < 0 || (bits >> i & 1U) == 0) continue;
      block[at / 8] = static_cast<uint8_t>(block[at / 8] | 1U << at % 8);
    }
  }

 private:
  static constexpr std::array<int, 16> kNowhere = {-1, -1, -1, -1, -1, -1, -1, -1,
                                                   -1, -1, -1, -1, -1, -1, -1, -1};
  int of_empty_ = 0;
  std::array<int, 16> bit_at_ = kNowhere;
};

template <class Format>
class BlockWriter {
 public:
  BlockWriter()
      : scale_half_(Format::kBytes, Format::scale_half),
        minimum_half_(Format::kBytes, Format::minimum_half) {
    for (int i = 0; i < Format::kElements; ++i) {
      codes_.emplace_back(Format::kBytes, [i](const uint8_t* block) {
        return static_cast<int>(Format::codes(block, i / 8 * 8) >> (8 * (i % 8)) & 255U);
      });
    }
    for (int run = 0; run < kRuns; ++run) {
      factors_.emplace_back(
          Format::kBytes, [run](const uint8_t* block) { return Format::scale_factor(block, run); });
      minimum_factors_.emplace_back(Format::kBytes, [run](const uint8_t* block) {
        return Format::minimum_factor(block, run);
      });
    }
  }

  // kElements values into kBytes zeros.
  void write(std::span<const float> values, uint8_t* block) const {
    std::array<float, kRuns> scales{};
    std::array<float, kRuns> depths{};  // of the minima below 0
    for (int run = 0; run < kRuns; ++run) {
      float low = 0;
      float high = 0;
      for (const float value : values.subspan(size_t{Format::kRun} * run, Format::kRun)) {
        low = std::fmin(low, value);
        high = std::fmax(high, value);
      }
      const auto at = static_cast<size_t>(run);
      depths[at] = -low;
      scales[at] = kHasMinimum ? (high - low) / static_cast<float>(numbers_of_codes().back())
                               : std::fmax(high, -low) / static_cast<float>(greatest_number());
    }
    write_scales(scales, block);
    if constexpr (kHasMinimum) write_minima(depths, block);
    for (int i = 0; i < Format::kElements; ++i) {
      codes_[static_cast<size_t>(i)].write(
          block, nearest_code(block, i / Format::kRun, values[static_cast<size_t>(i)]));
    }
  }

 private:
  static constexpr int kRuns = Format::kElements / Format::kRun;
  static constexpr bool kHasMinimum = Format::kMinimum != blocks::MinimumKind::none;
  // Of 4 or 6 bits, as the type has them; Q6_K's are int8.
  static constexpr float kGreatestFactor = Format::kBits == 6           ? 127
                                           : kRuns == 16 && kHasMinimum ? 15
                                           : kHasMinimum                ? 63
                                                                        : 31;

  static std::vector<int> numbers_of_codes() {
    std::vector<int> numbers;
    for (unsigned code = 0; code < 1U << Format::kBits; ++code) {
      numbers.push_back(blocks::number_of<Format>(code, 0));
    }
    return numbers;
  }
  static int greatest_number() {
    int greatest = 0;
    for (const int number : numbers_of_codes()) greatest = std::max(greatest, number);
    return greatest;
  }
  static float greatest_of(const std::array<float, kRuns>& values) {
    float greatest = 0;
    for (const float value : values) greatest = std::fmax(greatest, value);
    return greatest;
  }
  static int factor_of(float value, float unit) {
    return unit > 0 ? static_cast<int>(std::nearbyint(std::fmin(value / unit, kGreatestFactor)))
                    : 0;
  }

  void write_scales(const std::array<float, kRuns>& scales, uint8_t* block) const {
    if constexpr (Format::kScale == blocks::ScaleKind::power) {
      const float exponent = scales[0] > 0 ? std::ceil(std::log2(scales[0])) + 128 : 0;
      block[0] = static_cast<uint8_t>(exponent);
    } else if constexpr (Format::kScale == blocks::ScaleKind::half) {
      scale_half_.write(block, float_to_f16(scales[0]));
    } else {
      scale_half_.write(block, float_to_f16(greatest_of(scales) / kGreatestFactor));
      const float unit = f16_to_float(Format::scale_half(block));
      for (size_t run = 0; run < kRuns; ++run) {
        factors_[run].write(block, factor_of(scales[run], unit));
      }
    }
  }
  void write_minima(const std::array<float, kRuns>& depths, uint8_t* block) const {
    if constexpr (Format::kMinimum == blocks::MinimumKind::half) {
      minimum_half_.write(block, float_to_f16(-depths[0]));
    } else {
      minimum_half_.write(block, float_to_f16(-greatest_of(depths) / kGreatestFactor));
      const float unit = -f16_to_float(Format::minimum_half(block));
      for (size_t run = 0; run < kRuns; ++run) {
        minimum_factors_[run].write(block, factor_of(depths[run], unit));
      }
    }
  }

  // With the scales that the block has by now.
  static int nearest_code(const uint8_t* block, int run, float value) {
    static const std::vector<int> numbers = numbers_of_codes();
    const float scale = blocks::scale_of<Format>(block, run);
    const float least = kHasMinimum ? blocks::minimum_of<Format>(block, run) : 0;
    int nearest = 0;
    float distance = INFINITY;
    for (size_t code = 0; code < numbers.size(); ++code) {
      const float away = std::fabs(scale * static_cast<float>(numbers[code]) + least - value);
      if (away >= distance) continue;
      distance = away;
      nearest = static_cast<int>(code);
    }
    return nearest;
  }

  std::vector<BitPlaces> codes_;
  BitPlaces scale_half_;
  BitPlaces minimum_half_;
  std::vector<BitPlaces> factors_;
  std::vector<BitPlaces> minimum_factors_;
};

}  // namespace parkd::testing
