// Loops over masks and bits without intrinsics; see generic.hpp for why it lies in an anonymous namespace.
#pragma once

#include <cstdint>
#include <cstring>

namespace bispik {
namespace {
namespace generic {

inline int bits_in(std::uint64_t word) { return __builtin_popcountll(word); }

inline int collect_masks(const std::uint8_t* masks, int size, std::int32_t* places, std::uint8_t* kept) {
    int count = 0;
    for (int k = 0; k < size; ++k) {
        places[count] = k;
        kept[count] = masks[k];
        count += masks[k] != 0;
    }
    return count;
}

inline void pack_bits(const std::uint8_t* masks, int count, int steps, std::uint64_t* words, std::size_t stride) {
    for (int t = 0; t < steps; ++t) words[std::size_t(t) * stride] = 0;
    int i = 0;
    for (; i + 8 <= count; i += 8) {
        std::uint64_t eight;
        std::memcpy(&eight, masks + i, sizeof eight);
        for (int t = 0; t < steps; ++t) {
            // The multiplication moves bit 0 of every byte into the highest byte, in order.
            const std::uint64_t low = (eight >> t) & 0x0101010101010101ull;
            words[std::size_t(t) * stride] |= ((low * 0x0102040810204080ull) >> 56) << i;
        }
    }
    for (; i < count; ++i) {
        for (int t = 0; t < steps; ++t) words[std::size_t(t) * stride] |= std::uint64_t{(masks[i] >> t) & 1u} << i;
    }
}

inline void set_bits(const std::uint8_t* masks, std::size_t size, int step, int position, std::uint64_t* words) {
    const std::uint64_t others = ~(1ull << position);
    for (std::size_t i = 0; i < size; ++i) {
        words[i] = (words[i] & others) | static_cast<std::uint64_t>((masks[i] >> step) & 1) << position;
    }
}

inline void mark_nonzero(const std::int32_t* __restrict values, std::size_t size, int steps,
                         std::uint8_t* __restrict masks) {
    std::memset(masks, 0, size);
    for (int t = 0; t < steps; ++t, values += size) {
        for (std::size_t i = 0; i < size; ++i) masks[i] |= static_cast<std::uint8_t>((values[i] != 0) << t);
    }
}

inline std::int32_t count_bits(const std::uint64_t* words, int first, int last) {
    const int end = (last - 1) / 64;
    std::int32_t count = 0;
    for (int word = first / 64; word <= end; ++word) {
        std::uint64_t bits = words[word];
        if (word == first / 64) bits &= ~0ull << (first % 64);
        if (word == end) bits &= ~0ull >> (63 - (last - 1) % 64);
        count += bits_in(bits);
    }
    return count;
}

inline void count_masks(const std::uint8_t* masks, std::size_t size, int steps, std::int32_t* counts) {
    for (int t = 0; t < steps; ++t) {
        std::int32_t count = 0;
        std::size_t i = 0;
        for (; i + 8 <= size; i += 8) {  // the masks of eight channels in a word
            std::uint64_t word;
            std::memcpy(&word, masks + i, sizeof word);
            count += bits_in((word >> t) & 0x0101010101010101ull);
        }
        for (; i < size; ++i) count += (masks[i] >> t) & 1;
        counts[t] = count;
    }
}

}  // namespace generic
}  // namespace
}  // namespace bispik
