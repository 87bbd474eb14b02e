// The kernels for x86 with AVX-512 and its VNNI dot products. What is not here is the generic text in wider vectors.
#include <immintrin.h>

#include "generic.hpp"
#include "paths.hpp"
#include "vnni_attention.hpp"

namespace bispik {
namespace {

// --- Synapses ---
//
// vpdpbusd adds, in each 32-bit lane, four products of unsigned and signed bytes: operands of four rows and their
// weights for one neuron. Four rows of 64 weights are put beside each other in registers for it, which leaves neuron
// 16 L + 4 q + w in lane 4 L + w of register q; `in_order` undoes that.

// sum += dot products of unsigned `operand` and signed `weights`. In assembly, because GCC 12 copies a register for
// each intrinsic that accumulates in an array, which takes as long as the dot products.
inline void accumulate(__m512i& sum, __m512i operand, __m512i weights) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(operand), "v"(weights));
}

struct Quad {
    __m512i part[4];
};

inline Quad beside(__m512i row0, __m512i row1, __m512i row2, __m512i row3) {
    const __m512i low01 = _mm512_unpacklo_epi8(row0, row1), high01 = _mm512_unpackhi_epi8(row0, row1);
    const __m512i low23 = _mm512_unpacklo_epi8(row2, row3), high23 = _mm512_unpackhi_epi8(row2, row3);
    return {{_mm512_unpacklo_epi16(low01, low23), _mm512_unpackhi_epi16(low01, low23),
             _mm512_unpacklo_epi16(high01, high23), _mm512_unpackhi_epi16(high01, high23)}};
}

inline Quad in_order(const Quad& mixed) {
    const __m512i a = _mm512_shuffle_i32x4(mixed.part[0], mixed.part[1], 0x44);
    const __m512i b = _mm512_shuffle_i32x4(mixed.part[2], mixed.part[3], 0x44);
    const __m512i c = _mm512_shuffle_i32x4(mixed.part[0], mixed.part[1], 0xEE);
    const __m512i d = _mm512_shuffle_i32x4(mixed.part[2], mixed.part[3], 0xEE);
    return {{_mm512_shuffle_i32x4(a, b, 0x88), _mm512_shuffle_i32x4(a, b, 0xDD), _mm512_shuffle_i32x4(c, d, 0x88),
             _mm512_shuffle_i32x4(c, d, 0xDD)}};
}

constexpr int kStrip = 768;  // neurons whose sums stay in the first-level cache

inline __mmask64 existing(int width) { return width >= 64 ? ~0ull : (1ull << width) - 1; }

template <int kColumns>
void add_strip(const ActiveRows& active, int first, int width, std::int32_t* sums, std::size_t stride) {
    alignas(64) std::int32_t mixed[kColumns][kStrip];
    const int padded = (width + 63) / 64 * 64;
    for (int c = 0; c < kColumns; ++c) std::memset(mixed[c], 0, static_cast<std::size_t>(padded) * 4);
    const int ahead = generic::within(kRowsAtOnce, generic::kBytesAhead / padded / kRowsAtOnce * kRowsAtOnce,
                                      kRowsAhead - kRowsAtOnce);
    const std::int8_t* base = active.weights + first;
    const int words = active.count / 4;
    for (int i = 0; i < active.count; i += kRowsAtOnce) {
        const std::int8_t* row[kRowsAtOnce];
        const std::int8_t* next[kRowsAtOnce];
        for (int r = 0; r < kRowsAtOnce; ++r) {
            row[r] = base + static_cast<std::size_t>(active.rows[i + r]) * active.stride;
            next[r] = base + static_cast<std::size_t>(active.rows[i + ahead + r]) * active.stride;
        }
        __m512i low[kColumns], high[kColumns];
        for (int c = 0; c < kColumns; ++c) {
            low[c] = _mm512_set1_epi32(static_cast<int>(active.operands[c * words + i / 4]));
            high[c] = _mm512_set1_epi32(static_cast<int>(active.operands[c * words + i / 4 + 1]));
        }
        for (int j = 0; j < padded; j += 64) {
            __m512i weights[kRowsAtOnce];
            if (j + 64 <= width) {
                for (int r = 0; r < kRowsAtOnce; ++r) weights[r] = _mm512_loadu_si512(row[r] + j);
            } else {  // the matrix may end here, and its memory too
                const __mmask64 mask = existing(width - j);
                for (int r = 0; r < kRowsAtOnce; ++r) weights[r] = _mm512_maskz_loadu_epi8(mask, row[r] + j);
            }
            for (int r = 0; r < kRowsAtOnce; ++r) _mm_prefetch(reinterpret_cast<const char*>(next[r] + j), _MM_HINT_T0);
            const Quad a = beside(weights[0], weights[1], weights[2], weights[3]);
            const Quad b = beside(weights[4], weights[5], weights[6], weights[7]);
#pragma GCC unroll 8
            for (int c = 0; c < kColumns; ++c) {
                std::int32_t* target = mixed[c] + j;
                for (int q = 0; q < 4; ++q) {
                    __m512i sum = _mm512_load_si512(target + 16 * q);
                    accumulate(sum, low[c], a.part[q]);
                    accumulate(sum, high[c], b.part[q]);
                    _mm512_store_si512(target + 16 * q, sum);
                }
            }
        }
    }
    for (int c = 0; c < kColumns; ++c) {
        for (int j = 0; j < padded; j += 64) {
            Quad quad;
            for (int q = 0; q < 4; ++q) quad.part[q] = _mm512_load_si512(mixed[c] + j + 16 * q);
            quad = in_order(quad);
            std::int32_t* target = sums + static_cast<std::size_t>(c) * stride + first + j;
            for (int q = 0; q < 4; ++q) {
                const __mmask16 mask = static_cast<__mmask16>(existing(width - j) >> (16 * q));
                const __m512i before = _mm512_maskz_loadu_epi32(mask, target + 16 * q);
                _mm512_mask_storeu_epi32(target + 16 * q, mask, _mm512_add_epi32(before, quad.part[q]));
            }
        }
    }
}

void add_rows(const ActiveRows& active, int width, std::int32_t* sums, std::size_t stride) {
    using AddStrip = void (*)(const ActiveRows&, int, int, std::int32_t*, std::size_t);
    static constexpr AddStrip kAdd[] = {add_strip<1>, add_strip<2>, add_strip<3>, add_strip<4>,
                                        add_strip<5>, add_strip<6>, add_strip<7>, add_strip<8>};
    for (int first = 0; first < width; first += kStrip) {
        kAdd[active.columns - 1](active, first, generic::least(kStrip, width - first), sums, stride);
    }
}

// --- Synapses, many columns at once ---

void interleave(const std::int8_t* weights, std::size_t stride, int rows, int width, std::int8_t* tile) {
    const __mmask64 mask = existing(width);
    for (int k = 0; k < (rows + kDepthAtOnce - 1) / kDepthAtOnce * kDepthAtOnce; k += 4) {
        __m512i row[4];
        for (int r = 0; r < 4; ++r) {
            row[r] = k + r < rows ? _mm512_maskz_loadu_epi8(mask, weights + static_cast<std::size_t>(k + r) * stride)
                                  : _mm512_setzero_si512();
        }
        const Quad quad = beside(row[0], row[1], row[2], row[3]);
        for (int q = 0; q < 4; ++q) _mm512_storeu_si512(tile + static_cast<std::size_t>(k) * 64 + 64 * q, quad.part[q]);
    }
}

// Sums of one column for 64 neurons, each in a variable of its own: GCC keeps no array of them in registers.
struct ColumnSums {
    __m512i part0 = _mm512_setzero_si512(), part1 = part0, part2 = part0, part3 = part0;

    inline void add(const std::uint8_t* operands, const __m512i& weights0, const __m512i& weights1,
                    const __m512i& weights2, const __m512i& weights3) {
        std::int32_t four;
        std::memcpy(&four, operands, sizeof four);
        const __m512i operand = _mm512_set1_epi32(four);
        accumulate(part0, operand, weights0);
        accumulate(part1, operand, weights1);
        accumulate(part2, operand, weights2);
        accumulate(part3, operand, weights3);
    }

    inline void write(std::int32_t* sums) const {
        const Quad quad = in_order({{part0, part1, part2, part3}});
        for (int q = 0; q < 4; ++q) {
            _mm512_storeu_si512(sums + 16 * q, _mm512_add_epi32(_mm512_loadu_si512(sums + 16 * q), quad.part[q]));
        }
    }
};

template <int kColumns>
void multiply_columns(const Tile& tile, const std::uint8_t* operands, std::size_t operand_stride, std::int32_t* sums,
                      std::size_t stride) {
    ColumnSums sum0, sum1, sum2, sum3, sum4, sum5;
    for (int k = 0; k < tile.depth; k += 4) {
        const std::int8_t* weights = tile.weights + static_cast<std::size_t>(k) * kColumnsAtOnce;
        const __m512i part0 = _mm512_loadu_si512(weights), part1 = _mm512_loadu_si512(weights + 64);
        const __m512i part2 = _mm512_loadu_si512(weights + 128), part3 = _mm512_loadu_si512(weights + 192);
        const std::uint8_t* row = operands + k;
        sum0.add(row, part0, part1, part2, part3);
        if constexpr (kColumns > 1) sum1.add(row + operand_stride, part0, part1, part2, part3);
        if constexpr (kColumns > 2) sum2.add(row + 2 * operand_stride, part0, part1, part2, part3);
        if constexpr (kColumns > 3) sum3.add(row + 3 * operand_stride, part0, part1, part2, part3);
        if constexpr (kColumns > 4) sum4.add(row + 4 * operand_stride, part0, part1, part2, part3);
        if constexpr (kColumns > 5) sum5.add(row + 5 * operand_stride, part0, part1, part2, part3);
    }
    sum0.write(sums);
    if constexpr (kColumns > 1) sum1.write(sums + stride);
    if constexpr (kColumns > 2) sum2.write(sums + 2 * stride);
    if constexpr (kColumns > 3) sum3.write(sums + 3 * stride);
    if constexpr (kColumns > 4) sum4.write(sums + 4 * stride);
    if constexpr (kColumns > 5) sum5.write(sums + 5 * stride);
}

void multiply(const Tile& tile, const std::uint8_t* operands, std::size_t operand_stride, int columns,
              std::int32_t* sums, std::size_t stride) {
    using Multiply = void (*)(const Tile&, const std::uint8_t*, std::size_t, std::int32_t*, std::size_t);
    static constexpr Multiply kMultiply[] = {multiply_columns<1>, multiply_columns<2>, multiply_columns<3>,
                                             multiply_columns<4>, multiply_columns<5>, multiply_columns<6>};
    for (int c = 0; c < columns; c += 6) {
        const int some = generic::least(6, columns - c);
        kMultiply[some - 1](tile, operands + static_cast<std::size_t>(c) * operand_stride, operand_stride,
                            sums + static_cast<std::size_t>(c) * stride, stride);
    }
}

// --- Rows that spike ---

int collect_masks(const std::uint8_t* masks, int size, std::int32_t* places, std::uint8_t* kept) {
    int count = 0;
    __m512i index = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (int k = 0; k < size; k += 16) {
        const __mmask16 exist = size - k < 16 ? static_cast<__mmask16>((1u << (size - k)) - 1) : 0xFFFF;
        const __m512i some = _mm512_cvtepu8_epi32(_mm_maskz_loadu_epi8(exist, masks + k));
        const __mmask16 spiked = _mm512_test_epi32_mask(some, some);
        _mm512_storeu_si512(places + count, _mm512_maskz_compress_epi32(spiked, index));
        const __m128i bytes = _mm512_cvtepi32_epi8(_mm512_maskz_compress_epi32(spiked, some));
        _mm_storeu_si128(reinterpret_cast<__m128i*>(kept + count), bytes);
        count += generic::bits_in(spiked);
        index = _mm512_add_epi32(index, _mm512_set1_epi32(16));
    }
    return count;
}

// --- Storing ---

void pack_bits(const std::uint8_t* masks, int count, int steps, std::uint64_t* words, std::size_t stride) {
    const __m512i some = _mm512_maskz_loadu_epi8(existing(count), masks);
    for (int t = 0; t < steps; ++t) {
        words[static_cast<std::size_t>(t) * stride] =
            _mm512_test_epi8_mask(some, _mm512_set1_epi8(static_cast<char>(1 << t)));
    }
}

void set_bits(const std::uint8_t* masks, std::size_t size, int step, int position, std::uint64_t* words) {
    const __m512i bit = _mm512_set1_epi64(static_cast<long long>(1ull << position));
    for (std::size_t first = 0; first < size; first += 64) {
        const int count = size - first < 64 ? static_cast<int>(size - first) : 64;
        const __m512i some = _mm512_maskz_loadu_epi8(existing(count), masks + first);
        const std::uint64_t set = _mm512_test_epi8_mask(some, _mm512_set1_epi8(static_cast<char>(1 << step)));
        const std::uint64_t exist = existing(count);
        for (int i = 0; i < count; i += 8) {
            const __mmask8 here = static_cast<__mmask8>(exist >> i);
            std::uint64_t* target = words + first + static_cast<std::size_t>(i);
            const __m512i others = _mm512_andnot_si512(bit, _mm512_maskz_loadu_epi64(here, target));
            _mm512_mask_storeu_epi64(target, here,
                                     _mm512_mask_or_epi64(others, static_cast<__mmask8>(set >> i), others, bit));
        }
    }
}

// --- Counting ---

void mark_nonzero(const std::int32_t* values, std::size_t size, int steps, std::uint8_t* masks) {
    for (std::size_t i = 0; i < size; i += 16) {
        const __mmask16 exists = static_cast<__mmask16>(size - i < 16 ? (1u << (size - i)) - 1 : 0xffff);
        __m128i marks = _mm_setzero_si128();
        for (int t = 0; t < steps; ++t) {
            const __m512i some = _mm512_maskz_loadu_epi32(exists, values + static_cast<std::size_t>(t) * size + i);
            const __m128i bit = _mm_set1_epi8(static_cast<char>(1 << t));
            marks = _mm_or_si128(marks, _mm_maskz_mov_epi8(_mm512_test_epi32_mask(some, some), bit));
        }
        _mm_mask_storeu_epi8(masks + i, exists, marks);
    }
}

void count_masks(const std::uint8_t* masks, std::size_t size, int steps, std::int32_t* counts) {
    for (int t = 0; t < steps; ++t) counts[t] = 0;
    for (std::size_t i = 0; i < size; i += 64) {
        const int rest = size - i < 64 ? static_cast<int>(size - i) : 64;
        const __m512i some = _mm512_maskz_loadu_epi8(existing(rest), masks + i);
        for (int t = 0; t < steps; ++t) {
            const __mmask64 spiked = _mm512_test_epi8_mask(some, _mm512_set1_epi8(static_cast<char>(1 << t)));
            counts[t] += generic::bits_in(spiked);
        }
    }
}

// --- Stream networks ---

int collect(const std::int32_t* values, int size, std::int32_t* places) {
    int count = 0;
    __m512i index = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    for (int j = 0; j < size; j += 16) {
        const __mmask16 exist = size - j < 16 ? static_cast<__mmask16>((1u << (size - j)) - 1) : 0xFFFF;
        const __m512i some = _mm512_maskz_loadu_epi32(exist, values + j);
        const __mmask16 sent = _mm512_test_epi32_mask(some, some);
        // Compressed in a register: storing with compression is slow on some processors.
        _mm512_storeu_si512(places + count, _mm512_maskz_compress_epi32(sent, index));
        count += generic::bits_in(sent);
        index = _mm512_add_epi32(index, _mm512_set1_epi32(16));
    }
    return count;
}

}  // namespace

const Kernels& vnni_kernels() {
    static const Kernels kernels = [] {
        Kernels made = generic::table("vnni");
        made.add_rows = add_rows;
        made.interleave = interleave;
        made.multiply = multiply;
        made.attend = attend;
        made.mix_values = mix_values;
        made.collect_masks = collect_masks;
        made.pack_bits = pack_bits;
        made.set_bits = set_bits;
        made.mark_nonzero = mark_nonzero;
        made.count_masks = count_masks;
        made.collect = collect;
        return made;
    }();
    return kernels;
}

}  // namespace bispik
