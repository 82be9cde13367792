#include "lib/pool/parking_lot.h"

#include <utility>

#include "lib/base/check.h"

namespace parkd {

ParkingLot::ParkingLot(int32_t places, Micros overtake_max)
    : places_(places), overtake_max_(overtake_max) {
  PARKD_CHECK(places >= 1, "a lot without places");
}

ParkingLot::Key ParkingLot::key_of(const ParkedJob& job) {
  return {!job.critical, job.order_key, job.id, job.ticket};
}

void ParkingLot::park(const ParkedJob& job) {
  PARKD_CHECK(size() < places_, "the lot is full: its owner claimed more than it has places");
  const Key key = key_of(job);
  PARKD_CHECK(keys_.emplace(job.ticket, key).second, "the ticket is parked already");
  jobs_.emplace(key, Place{job, std::nullopt});
}

bool ParkingLot::remove(uint64_t ticket) {
  const auto found = keys_.find(ticket);
  if (found == keys_.end()) return false;
  jobs_.erase(found->second);
  keys_.erase(found);
  return true;
}

std::optional<Admission> ParkingLot::admit_next(ResourcePool& pool, int32_t free_sequences,
                                                SteadyTime now) {
  holder_.reset();
  for (auto at = jobs_.begin(); at != jobs_.end(); ++at) {
    Place& place = at->second;
    PARKD_CHECK(place.job.cost <= pool.capacity(), "a job was parked that can never fit");
    if (place.job.sequences <= free_sequences) {
      if (auto charge = pool.try_charge(place.job.cost)) {
        Admission admission{place.job, std::move(*charge)};
        keys_.erase(place.job.ticket);
        jobs_.erase(at);
        return admission;
      }
    }
    if (!place.in_the_way_since) place.in_the_way_since = now;
    if (now - *place.in_the_way_since >= overtake_max_) {
      holder_ = place.job.id;
      return std::nullopt;
    }
  }
  return std::nullopt;
}

std::string ParkingLot::why_waiting(uint64_t ticket, const ResourcePool& pool,
                                    int32_t free_sequences) const {
  const auto found = keys_.find(ticket);
  if (found == keys_.end()) return {};
  const ParkedJob& job = jobs_.at(found->second).job;
  if (job.cost > pool.free()) {
    return "needs " + std::to_string(job.cost.count) + " units, " +
           std::to_string(pool.free().count) + " of " + std::to_string(pool.capacity().count) +
           " are free";
  }
  if (job.sequences > free_sequences) {
    return "needs " + std::to_string(job.sequences) + " sequences, " +
           std::to_string(free_sequences) + " are free";
  }
  if (holder_) return "room is held for job " + std::to_string(*holder_) + ", which came first";
  return "starts at the next look";
}

}  // namespace parkd
