// Residency: which models are to be in memory now. A plan of a value: it is told what is there,
// what waits and what time it is, and says what to load and what is to leave. Pure, no clock of its
// own; its owner carries the plan out.
//
// Two times bound it, for whatever comes. A model that has waited `switch_wait` for room is the
// next to be loaded, before all that began to wait later, so none starves; and a model stays for at
// least kStayFactor times what its load took, so loading takes at most one part in kStayFactor + 1.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lib/base/clock.h"

namespace parkd {

struct ResidencyRules {
  int64_t budget_bytes = 0;           // of main memory, for all models that are loaded
  Micros switch_wait{600'000'000};    // so long a model with work keeps another one waiting
  Micros idle_grace{5'000'000};       // without work for so long: it makes room at once
  Micros stay_min{2'000'000};         // and it stays for at least so long, to claim something
  std::optional<Micros> idle_unload;  // without work for so long: it leaves; empty: it stays
};

class Residency {
 public:
  static constexpr int kStayFactor = 10;

  explicit Residency(ResidencyRules rules) : rules_(rules) {}

  // A model that is not loaded and takes so much of the budget, or is found to take it. Requires
  // bytes <= budget_bytes. `wanted`: it is to be loaded where there is room though nothing waits.
  void add(const std::string& model, int64_t bytes, bool wanted);
  // It cannot be loaded: it is not planned with any more.
  void remove(const std::string& model);

  // Whether it has work: jobs in the queue, or in this daemon's hands.
  void saw(const std::string& model, bool has_work, SteadyTime now);

  void load_began(const std::string& model, SteadyTime now);
  // While it is loading: it takes so much of the budget, whatever was thought before.
  void takes(const std::string& model, int64_t bytes);
  void load_ended(const std::string& model, SteadyTime now);
  // Its memory is free again, or its load did not come about.
  void left(const std::string& model, SteadyTime now);

  struct Plan {
    std::optional<std::string> load;  // begin to load it
    bool is_switch = false;           // others had to leave for it
    std::set<std::string> leaving;    // loaded, and to be unloaded as soon as what runs has ended
    friend bool operator==(const Plan&, const Plan&) = default;
  };
  Plan plan(SteadyTime now);

  int64_t used_bytes() const;  // by what is loaded or being loaded
  int64_t budget_bytes() const { return rules_.budget_bytes; }
  // Since when a model with work has waited to be loaded; empty: it does not.
  std::optional<SteadyTime> waits_since(const std::string& model) const;

 private:
  enum class Place { out, loading, in };
  struct Model {
    int64_t bytes = 0;
    Place place = Place::out;
    bool wanted = false;
    bool has_work = false;
    SteadyTime since{};  // out with work: waiting; loading: begun; in without work: idle
    SteadyTime loaded_at{};
    Micros load_time{0};
  };
  using Entry = std::pair<const std::string, Model>;

  std::vector<const Entry*> waiting() const;  // who waits longest first
  bool may_leave(const Model& model, bool idle_only, SteadyTime now) const;
  std::set<std::string> who_leaves_for(const Model& next, SteadyTime now) const;
  bool waits_long(const Model& model, SteadyTime now) const;
  std::optional<std::string> next_load(SteadyTime now);
  int64_t free_bytes() const { return rules_.budget_bytes - used_bytes(); }

  const ResidencyRules rules_;
  std::map<std::string, Model> models_;
  // Room is being made for this one, by those; empty: for none.
  std::string next_;
  std::set<std::string> leaving_;
};

}  // namespace parkd
