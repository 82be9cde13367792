// What a mutex guards, in words that clang checks: tools/thread_safety.sh (part of check.sh full)
// compiles what has guarded members against libc++, whose std::mutex, lock_guard and scoped_lock it
// understands. unique_lock it does not, so classes that wait on a condition variable say it in a
// comment. g++ reads nothing here.
//
//   std::mutex mutex_;
//   int64_t used_ PARKD_GUARDED_BY(mutex_) = 0;
//   void take_one() PARKD_REQUIRES(mutex_);   // the caller holds it
#pragma once

#if defined(__clang__) && defined(_LIBCPP_ENABLE_THREAD_SAFETY_ANNOTATIONS)
#define PARKD_GUARDED_BY(mutex) __attribute__((guarded_by(mutex)))
#define PARKD_REQUIRES(mutex) __attribute__((requires_capability(mutex)))
#else
#define PARKD_GUARDED_BY(mutex)
#define PARKD_REQUIRES(mutex)
#endif
