// What a render may take: every loop, copy and recursion of the interpreter is charged here, so
// that no template and no request makes it run long, deep or large.
//
// Inside of lib/jinja a failure travels as an exception (Fault); it leaves the module as a Status
// (template.h). A Budget belongs to one render, one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace parkd::jinja {

struct Limits {
  size_t source_bytes_max = 1 << 20;   // of a template
  size_t syntax_depth_max = 200;       // of expressions and blocks inside each other
  int64_t steps_max = 20'000'000;      // expressions, loop turns, 64 bytes copied or looked through
  int depth_max = 800;                 // of expressions and macros that are being computed
  size_t values_depth_max = 100;       // of lists and dicts inside each other
  size_t items_max = 1'000'000;        // of one list, dict or range
  size_t made_bytes_max = 512u << 20;  // of all values made, also those no longer held
  size_t output_bytes_max = 64u << 20;
};

// Why a template cannot be read or rendered.
struct Fault {
  enum class Kind {
    template_error,  // the template is wrong, or meets values that it cannot work with
    raised,          // the template refuses: its own raise_exception
    limit,           // a limit is reached
  };
  Kind kind = Kind::template_error;
  std::string message;
  int line = 0;  // of the template, from 1; 0: not known yet
};

[[noreturn]] void fail(std::string message);
[[noreturn]] void fail_limit(std::string message);

class Budget {
 public:
  explicit Budget(const Limits& limits) : limits_(limits) {}

  void step(int64_t n = 1) {
    steps_ += n;
    if (steps_ > limits_.steps_max) fail_steps();
  }
  // For work on so many bytes.
  void look_at(size_t bytes) { step(1 + static_cast<int64_t>(bytes / 64)); }
  // For a value of so many bytes, and the work of making it.
  void make(size_t bytes) {
    look_at(bytes);
    made_bytes_ += bytes;
    if (made_bytes_ > limits_.made_bytes_max) fail_made();
  }
  // Before a list or dict grows to so many entries.
  void check_items(size_t n) const {
    if (n > limits_.items_max) fail_items();
  }
  void check_values_depth(size_t depth) const {
    if (depth > limits_.values_depth_max) fail_values_depth();
  }

  // One level of computation; a Level lives as long as it.
  class Level {
   public:
    explicit Level(Budget& budget) : budget_(budget) {
      if (++budget_.depth_ > budget_.limits_.depth_max) budget_.fail_depth();
    }
    Level(const Level&) = delete;
    Level& operator=(const Level&) = delete;
    ~Level() { --budget_.depth_; }

   private:
    Budget& budget_;
  };

  const Limits& limits() const { return limits_; }
  int64_t steps() const { return steps_; }

 private:
  [[noreturn]] void fail_steps() const;
  [[noreturn]] void fail_made() const;
  [[noreturn]] void fail_items() const;
  [[noreturn]] void fail_values_depth() const;
  [[noreturn]] void fail_depth();

  const Limits& limits_;
  int64_t steps_ = 0;
  size_t made_bytes_ = 0;
  int depth_ = 0;
};

}  // namespace parkd::jinja
