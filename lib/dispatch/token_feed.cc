#include "lib/dispatch/token_feed.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace parkd {

void TokenFeed::Pushed::clear() {
  items.clear();
  text.clear();
  tokens.clear();
  logprobs.clear();
}

void TokenFeed::push(std::span<const TokenEvent> events) {
  bool was_empty = false;
  {
    const std::lock_guard lock(mutex_);
    was_empty = pushed_.items.empty();
    for (const TokenEvent& event : events) {
      // What a cancelled choice had held back is not a part of the answer of a run that is
      // repeated.
      if (event.finish_reason == FinishReason::cancelled) continue;
      pushed_.items.push_back({Pushed::Kind::tokens,
                               event.id,
                               {},
                               static_cast<size_t>(event.choice),
                               event.n_text_bytes,
                               event.text.size(),
                               event.tokens.size(),
                               event.logprobs.size()});
      pushed_.text += event.text;
      pushed_.tokens.insert(pushed_.tokens.end(), event.tokens.begin(), event.tokens.end());
      pushed_.logprobs.insert(pushed_.logprobs.end(), event.logprobs.begin(), event.logprobs.end());
    }
    was_empty = was_empty && !pushed_.items.empty();
  }
  if (was_empty) wake_();
}

void TokenFeed::push(Pushed::Item item) {
  bool was_empty = false;
  {
    const std::lock_guard lock(mutex_);
    was_empty = pushed_.items.empty();
    pushed_.items.push_back(item);
  }
  if (was_empty) wake_();
}

void TokenFeed::run_began(RequestId run, JobId job, size_t n_choices) {
  push({Pushed::Kind::began, run, {job, n_choices}, 0, 0, 0, 0, 0});
}

void TokenFeed::run_ended(RequestId run) {
  push({Pushed::Kind::ended, run, {}, 0, 0, 0, 0, 0});
}

void TokenFeed::take(const Pushed& pushed) {
  size_t text = 0;
  size_t tokens = 0;
  size_t logprobs = 0;
  const auto at = [](const auto& list, size_t i) {
    return list.begin() + static_cast<std::ptrdiff_t>(i);
  };
  for (const Pushed::Item& item : pushed.items) {
    if (item.kind == Pushed::Kind::began) {
      jobs_[item.run] = item.began.job;
      runs_[item.began.job] = {item.run, std::vector<ChoiceTokens>(item.began.n_choices)};
      continue;
    }
    const auto job = jobs_.find(item.run);
    const auto run = job == jobs_.end() ? runs_.end() : runs_.find(job->second);
    const bool is_current = run != runs_.end() && run->second.run == item.run;
    if (item.kind == Pushed::Kind::ended) {
      if (is_current) runs_.erase(run);
      if (job != jobs_.end()) jobs_.erase(job);
      continue;
    }
    if (is_current && item.choice < run->second.choices.size()) {
      ChoiceTokens& choice = run->second.choices[item.choice];
      choice.text.append(pushed.text, text, item.text);
      choice.tokens.insert(choice.tokens.end(), at(pushed.tokens, tokens),
                           at(pushed.tokens, tokens + item.tokens));
      choice.logprobs.insert(choice.logprobs.end(), at(pushed.logprobs, logprobs),
                             at(pushed.logprobs, logprobs + item.logprobs));
      choice.n_text_bytes = item.n_text_bytes;
      news_.push_back(job->second);
    }
    text += item.text;
    tokens += item.tokens;
    logprobs += item.logprobs;
  }
}

void TokenFeed::drain() {
  taken_.clear();
  {
    const std::lock_guard lock(mutex_);
    std::swap(taken_, pushed_);
  }
  news_.clear();
  take(taken_);
  tell();
}

void TokenFeed::tell() {
  std::sort(news_.begin(), news_.end());
  news_.erase(std::unique(news_.begin(), news_.end()), news_.end());
  std::vector<Listener> told;
  for (const JobId job : news_) {
    const auto of = listeners_.find(job);
    if (of == listeners_.end()) continue;
    for (const auto& each : of->second) {
      if (Listener listener = each.lock()) told.push_back(std::move(listener));
    }
  }
  for (const Listener& listener : told) (*listener)();
}

void TokenFeed::sweep_listeners() {
  if (listeners_.size() < sweep_at_) return;
  for (auto of = listeners_.begin(); of != listeners_.end();) {
    std::erase_if(of->second, [](const auto& listener) { return listener.expired(); });
    of = of->second.empty() ? listeners_.erase(of) : std::next(of);
  }
  sweep_at_ = 2 * listeners_.size() + 64;
}

const RunTokens* TokenFeed::find(JobId job) const {
  const auto found = runs_.find(job);
  return found == runs_.end() ? nullptr : &found->second;
}

TokenFeed::Listener TokenFeed::listen(JobId job, std::function<void()> on_tokens) {
  sweep_listeners();
  auto listener = std::make_shared<std::function<void()>>(std::move(on_tokens));
  listeners_[job].push_back(listener);
  return listener;
}

}  // namespace parkd
