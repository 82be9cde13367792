// The table of same_bytes_test: which model runs on which instruction set, with which type of
// activations, in which ways; so few runs that every two of family, weights, instruction set,
// activations and way still meet in one of them. Pure.
#pragma once

#include <cstddef>
#include <vector>

namespace parkd::testing {

struct TableSizes {
  size_t n_families = 0;
  size_t n_weights = 0;  // formats and types
  size_t n_isas = 0;     // the later ones are the faster ones
  size_t n_dtypes = 0;
  size_t n_ways = 0;
};

// Indices below the sizes. Each family and weights have one row.
struct TableRow {
  size_t family = 0;
  size_t weights = 0;
  size_t isa = 0;
  size_t dtype = 0;
  std::vector<size_t> ways;  // at least one, ascending
};

// Every pair of the five is in a row, except (isa, dtype) where there are too few rows for it. The
// same for the same sizes.
std::vector<TableRow> pairwise_table(const TableSizes& sizes);

}  // namespace parkd::testing
