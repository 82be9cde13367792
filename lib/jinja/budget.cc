#include "lib/jinja/budget.h"

#include <utility>

namespace parkd::jinja {

void fail(std::string message) {
  throw Fault{Fault::Kind::template_error, std::move(message), 0};
}

void fail_limit(std::string message) {
  throw Fault{Fault::Kind::limit, std::move(message), 0};
}

void Budget::fail_steps() const {
  fail_limit("takes more than " + std::to_string(limits_.steps_max) + " steps");
}

void Budget::fail_made() const {
  fail_limit("makes more than " + std::to_string(limits_.made_bytes_max) + " bytes of values");
}

void Budget::fail_items() const {
  fail_limit("makes a list or dict of more than " + std::to_string(limits_.items_max) + " items");
}

void Budget::fail_values_depth() const {
  fail_limit("nests values deeper than " + std::to_string(limits_.values_depth_max));
}

// The Level that is being made never lives, so it gives nothing back.
void Budget::fail_depth() {
  --depth_;
  fail_limit("nests computations deeper than " + std::to_string(limits_.depth_max));
}

}  // namespace parkd::jinja
