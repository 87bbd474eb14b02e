// Threads that share the tasks of one node after another.
//
// Tasks are claimed one by one from a counter, so a thread that the operating system holds up keeps back one task and
// not a fixed share of the work. Waiting threads spin shortly, because the next node comes within microseconds, then
// yield, and sleep when nothing comes for longer.
//
// On a busy machine a thread can be held up in the middle of a task, for milliseconds, and everybody waits. The pool
// then does without its threads for some rounds, and for twice as many each time that it happens again: two threads are
// hardly slower than one where there is no processor for the second.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <exception>
#include <functional>
#include <thread>
#include <vector>

namespace bispik {

class Pool {
 public:
    explicit Pool(int threads);
    ~Pool();
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;

    int threads() const { return static_cast<int>(workers_.size()) + 1; }

    // Run task(i) for all i < count < 2^24, also on the calling thread; returns when all are done. Throws what a task
    // has thrown, if any; the others are run all the same.
    void run(int count, const std::function<void(int)>& task);

 private:
    void work();
    std::uint64_t await_round(std::uint64_t last) const;
    bool claim_and_run();
    void stop();
    void await_others(int count, std::chrono::steady_clock::time_point started);

    std::vector<std::thread> workers_;
    int alone_ = 0;    // rounds that the calling thread does alone
    int penalty_ = 0;  // rounds that it will after the next delay
    std::atomic<bool> stop_{false};
    // The round, its number of tasks and the next task in one word, so that a late thread cannot claim a task of a
    // round that it does not know.
    std::atomic<std::uint64_t> state_{0};
    std::atomic<int> done_{0};
    std::atomic<bool> failed_{false};
    std::exception_ptr failure_;  // of the first task that failed; written by whoever sets failed_
    std::atomic<const std::function<void(int)>*> task_{nullptr};
};

}  // namespace bispik
