// What all loops without intrinsics share; see generic.hpp for why it lies in an anonymous namespace.
#pragma once

#include <cstdint>

namespace bispik {
namespace {
namespace generic {

// Not the standard library's, whose functions have one copy in the whole program as well.
constexpr int least(int one, int other) { return one < other ? one : other; }
constexpr int within(int low, int value, int high) { return value < low ? low : value > high ? high : value; }

constexpr std::int32_t kMembraneMax = (1 << 23) - 1;
constexpr int kDecayBits = 12;
constexpr int kLanes = 64;  // neurons that are run together; their state stays in the first-level cache

// sign(v) * ((|v| * keep) >> 12) in 32 bits: with |v| = 4096 a + b it is a * keep + ((b * keep) >> 12).
template <bool kSmall>
inline std::int32_t decayed(std::int32_t membrane, std::int32_t keep) {
    const auto magnitude = static_cast<std::uint32_t>(membrane < 0 ? -membrane : membrane);
    const auto factor = static_cast<std::uint32_t>(keep);
    std::uint32_t kept;
    if constexpr (kSmall) {
        kept = (magnitude * factor) >> kDecayBits;
    } else {
        kept = (magnitude >> kDecayBits) * factor + (((magnitude & 4095u) * factor) >> kDecayBits);
    }
    return membrane < 0 ? -static_cast<std::int32_t>(kept) : static_cast<std::int32_t>(kept);
}

}  // namespace generic
}  // namespace
}  // namespace bispik
