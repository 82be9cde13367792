// What the parts of one render share: its budget, its time, and the making of values that are
// charged to it. One thread.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/jinja/budget.h"
#include "lib/jinja/value.h"

namespace parkd::jinja {

struct Macro;
struct Scope;

struct CallArguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string_view, Value>> named;
  Origin names = Origin::literal;  // where the names come from: content, where a ** is
};

class Runtime {
 public:
  Runtime(const Limits& limits, std::chrono::sys_seconds now) : budget(limits), now_(now) {}
  ~Runtime() {
    for (const auto& space : spaces_) space->attributes.clear();
  }
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  Budget budget;

  std::chrono::sys_seconds now() const { return now_; }

  Value text(Text text);
  Value text(std::string bytes, Origin origin) {
    return this->text(Text(std::move(bytes), origin));
  }
  Value list(std::vector<Value> items) { return sequence(Type::list, std::move(items)); }
  Value sequence(Type type, std::vector<Value> items);
  Value dict(std::vector<std::pair<Value, Value>> entries);
  Value space();
  void charge_items(size_t n_items);

 private:
  const std::chrono::sys_seconds now_;
  std::vector<std::shared_ptr<Space>> spaces_;
};

// `self` is the value whose method it is, else undefined.
using NativeFunction = Value (*)(Runtime& runtime, const Value& self,
                                 const CallArguments& arguments);

// A macro, or a function of the interpreter's own.
struct Function : Object {
  std::string_view name;
  NativeFunction native = nullptr;
  Value self;
  const Macro* macro = nullptr;
  Scope* scope = nullptr;  // where the macro was defined
};

Value native_function(std::string_view name, NativeFunction native, Value self);

// The arguments of a call by the names of its parameters, of which the first `n_required` must be
// given.
class Bound {
 public:
  static constexpr size_t kParametersMax = 8;
  Bound(std::string_view callee, const CallArguments& arguments,
        std::initializer_list<std::string_view> parameters, size_t n_required);

  // Null where it was not given.
  const Value* find(size_t i) const { return given_[i]; }
  const Value& value(size_t i) const { return *given_[i]; }
  bool flag(size_t i, bool otherwise) const;
  int64_t integer(size_t i, int64_t otherwise) const;
  const Text& text(size_t i) const;

 private:
  [[noreturn]] void fail_type(size_t i, std::string_view must) const;

  std::string_view callee_;
  const Value* given_[kParametersMax] = {};
  std::string_view words_[kParametersMax];
};

}  // namespace parkd::jinja
