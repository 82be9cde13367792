// JobLine: waiting jobs in order, from which the first that needs at most so many tokens is found
// however many larger ones stand before it.
//
// Owner: the queue's index. Jobs stand in classes by the binary length of their need: 0, 1, 2-3,
// 4-7 ... A limit of 2^k - 1 ends with a class and is exact; in the class that any other limit cuts
// through, the first few jobs are looked at. Adding, erasing and the first one cost a class each,
// of which a line has a handful, never more than 64.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "lib/job/job_id.h"

namespace parkd {

class JobLine {
 public:
  using Place = std::pair<int64_t, JobId>;  // (order_key in unix us, id)

  void add(Place place, int64_t need) {
    const int length = length_of(need);
    const auto found =
        std::lower_bound(classes_.begin(), classes_.end(), length,
                         [](const Class& one, int wanted) { return one.length < wanted; });
    if (found != classes_.end() && found->length == length) {
      found->places.insert(place);
    } else {
      classes_.insert(found, {length, {place}});
    }
  }

  // Does nothing for a job that is not in the line.
  void erase(Place place, int64_t need) {
    for (Class& one : classes_) {
      if (one.length == length_of(need)) one.places.erase(place);
    }
  }

  bool empty() const {
    return std::all_of(classes_.begin(), classes_.end(),
                       [](const Class& one) { return one.places.empty(); });
  }

  std::optional<Place> first() const { return first_shorter_than(kLengthMax + 1); }

  // The first of need at most `limit`. Of the class that the limit cuts through it looks at `looks`
  // jobs at most, and counts them down; need_of(id) says what one needs.
  template <class NeedOf>
  std::optional<Place> first_within(int64_t limit, int& looks, const NeedOf& need_of) const {
    if (limit < 0) return std::nullopt;
    const int length = length_of(limit);
    const bool class_fits_whole = std::has_single_bit(static_cast<uint64_t>(limit) + 1);
    std::optional<Place> best = first_shorter_than(class_fits_whole ? length + 1 : length);
    if (class_fits_whole) return best;
    for (const Class& one : classes_) {
      if (one.length != length) continue;
      for (const Place& place : one.places) {
        if (best && *best < place) break;
        if (looks <= 0) break;
        --looks;
        if (need_of(place.second) <= limit) {
          best = place;
          break;
        }
      }
    }
    return best;
  }

 private:
  static constexpr int kLengthMax = 64;
  struct Class {
    int length = 0;
    std::set<Place> places;
  };

  static int length_of(int64_t need) {
    return static_cast<int>(std::bit_width(static_cast<uint64_t>(std::max<int64_t>(need, 0))));
  }

  std::optional<Place> first_shorter_than(int length) const {
    std::optional<Place> best;
    for (const Class& one : classes_) {
      if (one.length >= length) break;
      if (!one.places.empty() && (!best || *one.places.begin() < *best)) best = *one.places.begin();
    }
    return best;
  }

  std::vector<Class> classes_;  // ascending; one that ran empty stays
};

}  // namespace parkd
