#include "tests/engine/same_bytes_table.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

namespace parkd::testing {
namespace {

enum Factor : size_t { family, weights, isa, dtype, way };

// One value of one factor, and two of them that have met.
using Value = std::pair<Factor, size_t>;
using Pairs = std::set<std::pair<Value, Value>>;

size_t n_new(const Pairs& met, const std::vector<Value>& values) {
  size_t n = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    for (size_t j = i + 1; j < values.size(); ++j) n += 1 - met.count({values[i], values[j]});
  }
  return n;
}

void meet(Pairs& met, const std::vector<Value>& values) {
  for (size_t i = 0; i < values.size(); ++i) {
    for (size_t j = i + 1; j < values.size(); ++j) met.insert({values[i], values[j]});
  }
}

std::vector<Value> values_of(const TableRow& row) {
  return {{family, row.family}, {weights, row.weights}, {isa, row.isa}, {dtype, row.dtype}};
}

}  // namespace

std::vector<TableRow> pairwise_table(const TableSizes& sizes) {
  std::vector<TableRow> rows;
  Pairs met;
  std::map<std::pair<size_t, size_t>, size_t> n_rows;  // of an instruction set and activations
  for (size_t t = 0; t < sizes.n_weights; ++t) {
    for (size_t f = 0; f < sizes.n_families; ++f) {
      TableRow best;
      size_t most = 0;  // (family, weights) is new
      for (size_t i = sizes.n_isas; i-- > 0;) {
        for (size_t d = 0; d < sizes.n_dtypes; ++d) {
          const TableRow row{f, t, i, d, {}};
          const size_t n = n_new(met, values_of(row));
          const bool is_rarer = n_rows[{i, d}] < n_rows[{best.isa, best.dtype}];
          if (n < most || (n == most && !is_rarer)) continue;
          most = n;
          best = row;
        }
      }
      meet(met, values_of(best));
      ++n_rows[{best.isa, best.dtype}];
      rows.push_back(best);
    }
  }
  // Ways one by one, each where it meets the most, of such rows the shortest; then those rows that
  // have none yet.
  for (;;) {
    TableRow* where = nullptr;
    size_t best_way = 0;
    size_t most = 0;
    for (TableRow& row : rows) {
      for (size_t w = 0; w < sizes.n_ways; ++w) {
        std::vector<Value> values = values_of(row);
        values.emplace_back(way, w);
        const size_t n = n_new(met, values);
        const bool is_shorter = where != nullptr && row.ways.size() < where->ways.size();
        if (n == 0 || n < most || (n == most && !is_shorter)) continue;
        most = n;
        best_way = w;
        where = &row;
      }
    }
    if (where == nullptr) break;
    where->ways.push_back(best_way);
    std::vector<Value> values = values_of(*where);
    values.emplace_back(way, best_way);
    meet(met, values);
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].ways.empty()) rows[i].ways.push_back(i % sizes.n_ways);
    std::sort(rows[i].ways.begin(), rows[i].ways.end());
  }
  return rows;
}

}  // namespace parkd::testing
