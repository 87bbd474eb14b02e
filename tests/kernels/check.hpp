// What the kernels' tests share: random numbers, memory that ends where it must, and comparisons that say where.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

namespace bispik::test {

class Random {
 public:
    explicit Random(std::uint64_t seed) : bits_(seed) {}

    // Both ends included.
    std::int64_t between(std::int64_t low, std::int64_t high) {
        return low + static_cast<std::int64_t>(bits_() % static_cast<std::uint64_t>(high - low + 1));
    }
    int number(int low, int high) { return static_cast<int>(between(low, high)); }
    int one_of(std::initializer_list<int> numbers) {
        return numbers.begin()[number(0, static_cast<int>(numbers.size()) - 1)];
    }
    bool chance(double share) { return static_cast<double>(bits_() >> 11) < share * 9007199254740992.0; }
    std::uint64_t word() { return bits_(); }

 private:
    std::mt19937_64 bits_;
};

// Memory for exactly `size` values that need not begin at a whole line: a sanitizer sees every access behind its end.
template <typename Value>
class Exact {
 public:
    Exact() : Exact(0, 0) {}
    Exact(std::size_t size, int skipped) : skipped_(static_cast<std::size_t>(skipped)), memory_(skipped_ + size) {}

    Value* data() { return memory_.data() + skipped_; }
    const Value* data() const { return memory_.data() + skipped_; }
    std::size_t size() const { return memory_.size() - skipped_; }
    Value& operator[](std::size_t index) { return memory_[skipped_ + index]; }
    const Value& operator[](std::size_t index) const { return memory_[skipped_ + index]; }
    Value* begin() { return data(); }
    Value* end() { return data() + size(); }

 private:
    std::size_t skipped_;
    std::vector<Value> memory_;
};

inline void expect(bool holds, const std::string& what) {
    if (!holds) throw std::runtime_error(what);
}

// The first difference between two ranges of `size` values, as an error.
template <typename Found, typename Wanted>
void expect_same(const Found* found, const Wanted* wanted, std::size_t size, const std::string& what) {
    for (std::size_t i = 0; i < size; ++i) {
        if (static_cast<std::int64_t>(found[i]) == static_cast<std::int64_t>(wanted[i])) continue;
        throw std::runtime_error(what + "[" + std::to_string(i) + " of " + std::to_string(size) + "] is " +
                                 std::to_string(found[i]) + ", must be " + std::to_string(wanted[i]));
    }
}

// Weights of a regime that the seed chooses: any, extreme ones, or -1 to 1, which meet thresholds exactly.
template <typename Weights>
void fill_weights(Random& random, Weights& weights) {
    const int regime = random.number(0, 3);
    for (std::int8_t& weight : weights) {
        weight = static_cast<std::int8_t>(regime == 0   ? (random.chance(.5) ? -128 : 127)
                                          : regime == 1 ? random.number(-1, 1)
                                          : regime == 2 ? -128
                                                        : random.number(-128, 127));
    }
}

}  // namespace bispik::test
