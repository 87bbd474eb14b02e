// The eight tile registers of AMX, or a plain imitation of them with which the code that uses them is tested where no
// processor has any (BISPIK_IMITATED_TILES). Included by amx.cpp alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if !defined(BISPIK_IMITATED_TILES)
#include <immintrin.h>
#endif

namespace bispik {
namespace {

// What `ldtilecfg` reads.
struct alignas(64) TileShapes {
    std::uint8_t palette = 1;
    std::uint8_t start_row = 0;
    std::uint8_t reserved[14] = {};
    std::uint16_t bytes_per_row[16] = {};
    std::uint8_t rows[16] = {};
};

#if defined(BISPIK_IMITATED_TILES)

thread_local TileShapes shapes;
thread_local std::uint8_t tiles[8][16][64];

inline void configure(const TileShapes& wanted) { shapes = wanted; }
inline void release() { shapes = {}; }

template <int kTile>
void clear_tile() {
    std::memset(tiles[kTile], 0, sizeof tiles[kTile]);
}

template <int kTile>
void load_tile(const void* from, std::size_t stride) {
    clear_tile<kTile>();
    for (int r = 0; r < shapes.rows[kTile]; ++r) {
        std::memcpy(tiles[kTile][r], static_cast<const char*>(from) + static_cast<std::size_t>(r) * stride,
                    shapes.bytes_per_row[kTile]);
    }
}

template <int kTile>
void store_tile(void* to, std::size_t stride) {
    for (int r = 0; r < shapes.rows[kTile]; ++r) {
        std::memcpy(static_cast<char*>(to) + static_cast<std::size_t>(r) * stride, tiles[kTile][r],
                    shapes.bytes_per_row[kTile]);
    }
}

// tdpbusd: sums[m][n] += sum over k and i of operands[m][4 k + i] * weights[k][4 n + i], unsigned times signed bytes.
template <int kSums, int kOperands, int kWeights>
void add_products() {
    for (int m = 0; m < shapes.rows[kSums]; ++m) {
        for (int n = 0; n < shapes.bytes_per_row[kSums] / 4; ++n) {
            std::int32_t sum;
            std::memcpy(&sum, &tiles[kSums][m][4 * n], sizeof sum);
            for (int k = 0; k < shapes.bytes_per_row[kOperands] / 4; ++k) {
                for (int i = 0; i < 4; ++i) {
                    sum += tiles[kOperands][m][4 * k + i] * static_cast<std::int8_t>(tiles[kWeights][k][4 * n + i]);
                }
            }
            std::memcpy(&tiles[kSums][m][4 * n], &sum, sizeof sum);
        }
    }
}

#else

// In assembly, for GCC's intrinsics take the number of a tile as a literal and as nothing else.

inline void configure(const TileShapes& wanted) { _tile_loadconfig(&wanted); }
inline void release() { _tile_release(); }

template <int kTile>
void clear_tile() {
    asm volatile("tilezero %%tmm%c0" : : "i"(kTile));
}

template <int kTile>
void load_tile(const void* from, std::size_t stride) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(from), "r"(stride), "i"(kTile) : "memory");
}

template <int kTile>
void store_tile(void* to, std::size_t stride) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(to), "r"(stride), "i"(kTile) : "memory");
}

template <int kSums, int kOperands, int kWeights>
void add_products() {
    asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(kSums), "i"(kOperands), "i"(kWeights));
}

#endif

}  // namespace
}  // namespace bispik
