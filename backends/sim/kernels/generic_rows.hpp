// Loops over rows of weights without intrinsics; see generic.hpp for why it lies in an anonymous namespace.
#pragma once

#include <cstdint>
#include <cstring>

#include "generic_numbers.hpp"
#include "kernels.hpp"

namespace bispik {
namespace {
namespace generic {

constexpr int kSumsAtOnce = 1024;
constexpr int kBytesAhead = 16384;       // of weights that are fetched before they are needed
constexpr int kAdditions = 255;          // of int8 weights that an int16 holds
constexpr int kAdditionsWorthwhile = 8;  // fewer do not repay adding them up in an int16 first

inline void flush(std::int16_t* short_sums, std::int32_t* sums, int width) {
    for (int j = 0; j < width; ++j) sums[j] += short_sums[j];
    std::memset(short_sums, 0, static_cast<std::size_t>(width) * sizeof *short_sums);
}

inline void prefetch_row(const ActiveRows& active, int index, int first, int width) {
    const std::int8_t* row = active.weights + static_cast<std::size_t>(active.rows[index]) * active.stride + first;
    for (int j = 0; j < width; j += 64) __builtin_prefetch(row + j, 0, 3);
}

// Rows that are added up in 16 bits, at most `most` of them before the sums move on to 32.
template <bool kBinary>
inline void add_short_rows(const ActiveRows& active, int most, int first, int width, std::int32_t* sums,
                           std::size_t stride) {
    std::int16_t short_sums[kMaximalSteps][kSumsAtOnce];
    for (int c = 0; c < active.columns; ++c) std::memset(short_sums[c], 0, sizeof(std::int16_t) * std::size_t(width));
    const int ahead = within(1, kBytesAhead / width, kRowsAhead);
    int additions = 0;
    for (int i = 0; i < active.count; ++i) {
        prefetch_row(active, i + ahead, first, width);
        const std::int8_t* row = active.weights + static_cast<std::size_t>(active.rows[i]) * active.stride + first;
        for (int c = 0; c < active.columns; ++c) {
            const auto value =
                static_cast<std::int16_t>(kBinary ? (active.masks[i] >> c) & 1 : active.values[i * kMaximalSteps + c]);
            if (!value) continue;
            std::int16_t* target = short_sums[c];
            for (int j = 0; j < width; ++j) {
                target[j] = static_cast<std::int16_t>(target[j] + (kBinary ? row[j] : value * row[j]));
            }
        }
        if (++additions == most) {
            for (int c = 0; c < active.columns; ++c)
                flush(short_sums[c], sums + std::size_t(c) * stride + first, width);
            additions = 0;
        }
    }
    for (int c = 0; c < active.columns; ++c) flush(short_sums[c], sums + std::size_t(c) * stride + first, width);
}

inline void add_long_rows(const ActiveRows& active, int first, int width, std::int32_t* sums, std::size_t stride) {
    for (int i = 0; i < active.count; ++i) {
        const std::int8_t* row = active.weights + static_cast<std::size_t>(active.rows[i]) * active.stride + first;
        for (int c = 0; c < active.columns; ++c) {
            const std::int32_t value = active.values[i * kMaximalSteps + c];
            if (!value) continue;
            std::int32_t* target = sums + std::size_t(c) * stride + first;
            for (int j = 0; j < width; ++j) target[j] += value * row[j];
        }
    }
}

// How many rows times their largest operand an int16 holds.
inline int additions_of(const ActiveRows& active) {
    std::uint8_t largest = 1;
    for (int i = 0; i < active.count * kMaximalSteps; ++i) {
        largest = active.values[i] > largest ? active.values[i] : largest;
    }
    return kAdditions / largest;
}

inline void add_rows(const ActiveRows& active, int width, std::int32_t* sums, std::size_t stride) {
    const int most = active.masks ? kAdditions : additions_of(active);
    for (int first = 0; first < width; first += kSumsAtOnce) {
        const int some = least(kSumsAtOnce, width - first);
        if (active.masks) {
            add_short_rows<true>(active, most, first, some, sums, stride);
        } else if (most >= kAdditionsWorthwhile) {
            add_short_rows<false>(active, most, first, some, sums, stride);
        } else {
            add_long_rows(active, first, some, sums, stride);
        }
    }
}

}  // namespace generic
}  // namespace
}  // namespace bispik
