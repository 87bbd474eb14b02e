// Attention in AVX-512, for binary spikes whose score neurons are `small`: 64 stored tokens at a time, their membranes
// in registers. Included by vnni.cpp alone.
#pragma once

#include <immintrin.h>

#include "generic.hpp"

namespace bispik {
namespace {

// Membranes and last spikes of the score neurons of 64 stored tokens, 16 in a register.
struct ScoreNeurons {
    __m512i membrane[4];
    __mmask16 spiked[4];
};

// One step of 16 neurons. Their membranes are `small`: products fit 32 bits and nothing saturates. From rest, membranes
// and spikes are not looked at.
template <bool kHard, bool kFromRest>
inline __mmask16 step_scores(__m512i& membrane, __mmask16& spiked, __m512i current, const HeadQuery& query) {
    __m512i next = current;
    if constexpr (!kFromRest) {
        const __m512i keep = _mm512_set1_epi32(query.neurons.keep);
        const __m512i magnitude =
            _mm512_srli_epi32(_mm512_mullo_epi32(_mm512_abs_epi32(membrane), keep), generic::kDecayBits);
        const __mmask16 negative = _mm512_movepi32_mask(membrane);
        next = _mm512_add_epi32(next, _mm512_mask_sub_epi32(magnitude, negative, _mm512_setzero_si512(), magnitude));
        if constexpr (!kHard) {
            next = _mm512_mask_sub_epi32(next, spiked, next, _mm512_set1_epi32(*query.neurons.subtract));
        }
    }
    spiked = _mm512_cmpgt_epi32_mask(next, _mm512_set1_epi32(*query.neurons.threshold));
    membrane = kHard ? _mm512_maskz_mov_epi32(static_cast<__mmask16>(~spiked), next) : next;
    return spiked;
}

// Scores of 8 stored tokens, in 64-bit lanes.
inline __m512i scores_of_8(const HeadQuery& query, int step, std::size_t first) {
    __m512i sum = _mm512_setzero_si512();
    for (int w = 0; w < query.words; ++w) {
        const int row = step * query.words + w;
        const __m512i asked = _mm512_set1_epi64(static_cast<long long>(query.query[row]));
        const __m512i keys = _mm512_loadu_si512(query.keys + static_cast<std::size_t>(row) * query.window + first);
        sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(_mm512_and_si512(asked, keys)));
    }
    return sum;
}

template <bool kHard, bool kFromRest>
inline std::uint64_t spikes_of_64(const HeadQuery& query, int step, std::size_t first, ScoreNeurons& neurons) {
    const __m512i low_halves = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i bias = _mm512_set1_epi32(*query.neurons.bias);
    const __m128i exponent = _mm_cvtsi32_si128(query.exponent);
    std::uint64_t bits = 0;
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
        const std::size_t at = first + 16 * static_cast<std::size_t>(i);
        const __m512i scores =
            _mm512_permutex2var_epi32(scores_of_8(query, step, at), low_halves, scores_of_8(query, step, at + 8));
        const __m512i current = _mm512_add_epi32(_mm512_sll_epi32(scores, exponent), bias);
        const __mmask16 spikes = step_scores<kHard, kFromRest>(neurons.membrane[i], neurons.spiked[i], current, query);
        bits |= static_cast<std::uint64_t>(spikes) << (16 * i);
    }
    return bits;
}

template <bool kHard>
void spike_64_scores(const HeadQuery& query, std::size_t first, std::uint64_t exists) {
    const std::size_t blocks = query.window / 64;
    ScoreNeurons neurons{};
    std::uint64_t* spikes = query.spikes + first / 64;
    *spikes = spikes_of_64<kHard, true>(query, 0, first, neurons) & exists;
    for (int t = 1; t < query.steps; ++t) {
        spikes[static_cast<std::size_t>(t) * blocks] = spikes_of_64<kHard, false>(query, t, first, neurons) & exists;
    }
}

// output[d] = number of stored tokens that spiked and whose value has channel d, for 64 channels and all of a step's.
inline void mix_64_values(const HeadQuery& query, int step, int first) {
    const std::size_t blocks = query.window / 64, depth = static_cast<std::size_t>(query.head_dim);
    const std::size_t used = (static_cast<std::size_t>(query.stored) + 63) / 64;
    const std::uint64_t* spikes = query.spikes + static_cast<std::size_t>(step) * blocks;
    const std::uint64_t* values = query.values + static_cast<std::size_t>(step) * blocks * depth + first;
    __m512i sum[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) sum[i] = _mm512_setzero_si512();
    for (std::size_t block = 0; block < used; ++block) {
        if (!spikes[block]) continue;
        const __m512i spiked = _mm512_set1_epi64(static_cast<long long>(spikes[block]));
        const std::uint64_t* row = values + block * depth;
#pragma GCC unroll 8
        for (int i = 0; i < 8; ++i) {
            sum[i] = _mm512_add_epi64(sum[i],
                                      _mm512_popcnt_epi64(_mm512_and_si512(spiked, _mm512_loadu_si512(row + 8 * i))));
        }
    }
    std::int32_t* output = query.output + static_cast<std::size_t>(step) * depth + first;
#pragma GCC unroll 8
    for (int i = 0; i < 8; ++i) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(output + 8 * i), _mm512_cvtepi64_epi32(sum[i]));
    }
}

inline void mix_values(const HeadQuery& query) {
    if (query.signs != 1 || query.head_dim % 64 != 0) return generic::mix_values(query);
    for (int t = 0; t < query.steps; ++t) {
        for (int first = 0; first < query.head_dim; first += 64) mix_64_values(query, t, first);
    }
}

inline std::int64_t attend(const HeadQuery& query) {
    if (query.signs != 1 || query.neurons.ternary || !query.neurons.small) return generic::attend(query);
    for (int first = 0; first < query.stored; first += 64) {
        const int count = generic::least(64, query.stored - first);
        const std::uint64_t exists = count == 64 ? ~0ull : (1ull << count) - 1;
        (query.neurons.hard ? spike_64_scores<true> : spike_64_scores<false>)(query, static_cast<std::size_t>(first),
                                                                              exists);
    }
    mix_values(query);
    return 0;
}

}  // namespace
}  // namespace bispik
