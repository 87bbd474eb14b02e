#include "pool.hpp"

#include <algorithm>
#include <chrono>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace bispik {
namespace {

constexpr int kTaskBits = 24;  // tasks of a round; the 16 bits above both numbers are the round
constexpr std::uint64_t kTaskMask = (1ull << kTaskBits) - 1;
constexpr int kSpins = 2000;
constexpr int kYields = 200;
constexpr auto kDelay = std::chrono::microseconds(100);  // to wait for another thread before it counts as held up
constexpr int kLeastPenalty = 256, kLargestPenalty = 1 << 16;

std::uint64_t round_of(std::uint64_t state) { return state >> (2 * kTaskBits); }
std::uint64_t count_of(std::uint64_t state) { return (state >> kTaskBits) & kTaskMask; }
std::uint64_t next_of(std::uint64_t state) { return state & kTaskMask; }

void pause() {
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    asm volatile("yield");
#endif
}

}  // namespace

Pool::Pool(int threads) {
    try {
        for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
    } catch (...) {
        stop();
        throw;
    }
}

Pool::~Pool() { stop(); }

void Pool::stop() {
    stop_ = true;
    state_ += 1ull << (2 * kTaskBits);
    state_.notify_all();
    for (std::thread& worker : workers_) worker.join();
}

void Pool::run(int count, const std::function<void(int)>& task) {
    if (workers_.empty() || count < 2 || alone_ > 0) {
        alone_ -= alone_ > 0;
        for (int i = 0; i < count; ++i) task(i);
        return;
    }
    const auto started = std::chrono::steady_clock::now();
    task_.store(&task, std::memory_order_relaxed);
    done_.store(0, std::memory_order_relaxed);
    const std::uint64_t round = round_of(state_.load(std::memory_order_relaxed)) + 1;
    state_.store(round << (2 * kTaskBits) | static_cast<std::uint64_t>(count) << kTaskBits, std::memory_order_release);
    state_.notify_all();
    while (claim_and_run()) {
    }
    await_others(count, started);
    if (failed_.exchange(false)) std::rethrow_exception(std::exchange(failure_, nullptr));
}

void Pool::await_others(int count, std::chrono::steady_clock::time_point started) {
    for (int spins = 0; spins < kSpins; ++spins) {
        if (done_.load(std::memory_order_acquire) == count) {
            penalty_ -= penalty_ > kLeastPenalty;
            return;
        }
        pause();
    }
    const auto finished = std::chrono::steady_clock::now();
    while (done_.load(std::memory_order_acquire) < count) std::this_thread::yield();
    // A thread that works on its last task needs no longer for it than all of this one's took.
    if (std::chrono::steady_clock::now() - finished < std::max<std::chrono::nanoseconds>(kDelay, finished - started))
        return;
    penalty_ = std::clamp(2 * penalty_, kLeastPenalty, kLargestPenalty);
    alone_ = penalty_;
}

bool Pool::claim_and_run() {
    std::uint64_t state = state_.load(std::memory_order_acquire);
    while (next_of(state) < count_of(state)) {
        if (state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) {
            try {
                (*task_.load(std::memory_order_relaxed))(static_cast<int>(next_of(state)));
            } catch (...) {
                if (!failed_.exchange(true)) failure_ = std::current_exception();
            }
            done_.fetch_add(1, std::memory_order_acq_rel);
            return true;
        }
    }
    return false;
}

std::uint64_t Pool::await_round(std::uint64_t last) const {
    for (int waited = 0;; ++waited) {
        const std::uint64_t state = state_.load(std::memory_order_acquire);
        if (round_of(state) != last || stop_.load(std::memory_order_acquire)) return round_of(state);
        if (waited < kSpins) {
            pause();
        } else if (waited < kSpins + kYields) {
            std::this_thread::yield();
        } else {
            state_.wait(state, std::memory_order_acquire);
        }
    }
}

void Pool::work() {
    std::uint64_t round = 0;
    while (true) {
        round = await_round(round);
        if (stop_) return;
        while (claim_and_run()) {
        }
    }
}

}  // namespace bispik
