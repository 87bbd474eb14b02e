// The eight tile registers of AMX, or a plain imitation of them with which the code that uses them is tested where no
// processor has any (BISPIK_IMITATED_TILES). Included by amx.cpp alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(BISPIK_IMITATED_TILES)
#include <cstdio>
#include <cstdlib>
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

// A processor raises an exception.
inline void demand(bool holds, const char* what) {
    if (holds) return;
    std::fprintf(stderr, "tiles: %s\n", what);
    std::abort();
}

inline void configure(const TileShapes& wanted) {
    for (int t = 0; t < 16; ++t) {
        demand(wanted.rows[t] <= 16 && wanted.bytes_per_row[t] <= 64 && (t < 8 || wanted.rows[t] == 0), "too large");
        demand((wanted.rows[t] == 0) == (wanted.bytes_per_row[t] == 0), "half a shape");
    }
    shapes = wanted;
    std::memset(tiles, 0, sizeof tiles);
}
inline void release() { shapes = {}; }

template <int kTile>
void clear_tile() {
    demand(shapes.rows[kTile] > 0, "a tile without a shape");
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
    demand(shapes.rows[kTile] > 0, "a tile without a shape");
    for (int r = 0; r < shapes.rows[kTile]; ++r) {
        std::memcpy(static_cast<char*>(to) + static_cast<std::size_t>(r) * stride, tiles[kTile][r],
                    shapes.bytes_per_row[kTile]);
    }
}

// tdpbusd: sums[m][n] += sum over k and i of operands[m][4 k + i] * weights[k][4 n + i], unsigned times signed bytes.
template <int kSums, int kOperands, int kWeights>
void add_products() {
    static_assert(kSums != kOperands && kSums != kWeights && kOperands != kWeights);
    demand(shapes.rows[kSums] > 0 && shapes.rows[kSums] == shapes.rows[kOperands] &&
               shapes.bytes_per_row[kSums] == shapes.bytes_per_row[kWeights] &&
               shapes.bytes_per_row[kOperands] == 4 * shapes.rows[kWeights],
           "shapes that do not match");
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

// In assembly: GCC's intrinsics take the number of a tile as a literal and as nothing else, and GCC 12 leaves out most
// of the shapes that its own function is to read.

inline void configure(const TileShapes& wanted) { asm volatile("ldtilecfg %0" : : "m"(wanted) : "memory"); }
inline void release() { asm volatile("tilerelease" : : : "memory"); }

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
