// The kernels without intrinsics. Every file of an instruction set includes this text and compiles it with its own
// flags, so that the compiler's vectors are as wide as they may be there.
//
// All of it lies in an anonymous namespace: a function that two files shared would be compiled with the flags of one of
// them, and could then run on a processor without those instructions.
#pragma once

#include <cstring>

#include "generic_numbers.hpp"
#include "generic_stream.hpp"
#include "kernels.hpp"

namespace bispik {
namespace {
namespace generic {

// --- Synapses ---

constexpr int kSumsAtOnce = 1024;
constexpr int kBytesAhead = 16384;  // of weights that are fetched before they are needed
constexpr int kAdditions = 255;     // of int8 weights that an int16 holds

inline void flush(std::int16_t* short_sums, std::int32_t* sums, int width) {
    for (int j = 0; j < width; ++j) sums[j] += short_sums[j];
    std::memset(short_sums, 0, static_cast<std::size_t>(width) * sizeof *short_sums);
}

inline void prefetch_row(const ActiveRows& active, int index, int first, int width) {
    const std::int8_t* row = active.weights + static_cast<std::size_t>(active.rows[index]) * active.stride + first;
    for (int j = 0; j < width; j += 64) __builtin_prefetch(row + j, 0, 3);
}

inline void add_binary_rows(const ActiveRows& active, int first, int width, std::int32_t* sums, std::size_t stride) {
    std::int16_t short_sums[kMaximalSteps][kSumsAtOnce];
    for (int c = 0; c < active.columns; ++c) std::memset(short_sums[c], 0, sizeof(std::int16_t) * std::size_t(width));
    const int ahead = within(1, kBytesAhead / width, kRowsAhead);
    int additions = 0;
    for (int i = 0; i < active.count; ++i) {
        prefetch_row(active, i + ahead, first, width);
        const std::int8_t* row = active.weights + static_cast<std::size_t>(active.rows[i]) * active.stride + first;
        for (int c = 0; c < active.columns; ++c) {
            if (!((active.masks[i] >> c) & 1)) continue;
            std::int16_t* target = short_sums[c];
            for (int j = 0; j < width; ++j) target[j] = static_cast<std::int16_t>(target[j] + row[j]);
        }
        if (++additions == kAdditions) {
            for (int c = 0; c < active.columns; ++c)
                flush(short_sums[c], sums + std::size_t(c) * stride + first, width);
            additions = 0;
        }
    }
    for (int c = 0; c < active.columns; ++c) flush(short_sums[c], sums + std::size_t(c) * stride + first, width);
}

inline void add_valued_rows(const ActiveRows& active, int first, int width, std::int32_t* sums, std::size_t stride) {
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

inline void add_rows(const ActiveRows& active, int width, std::int32_t* sums, std::size_t stride) {
    for (int first = 0; first < width; first += kSumsAtOnce) {
        const int some = least(kSumsAtOnce, width - first);
        (active.masks ? add_binary_rows : add_valued_rows)(active, first, some, sums, stride);
    }
}

// --- Neurons ---

// State of up to kLanes neurons between two steps.
struct Lanes {
    std::int32_t membrane[kLanes];
    std::int32_t spike[kLanes];
    std::int32_t threshold[kLanes];
    std::int32_t subtract[kLanes];
    std::int32_t bias[kLanes];
};

// One step of all lanes; returns the number of clipped membranes among the first `count` lanes.
template <bool kSmall, bool kHard, bool kTernary>
inline std::int32_t step_lanes(Lanes& lanes, std::int32_t keep, const std::int32_t* current, int count) {
    std::int32_t clipped = 0;
    for (int j = 0; j < kLanes; ++j) {
        std::int32_t next = decayed<kSmall>(lanes.membrane[j], keep) + current[j] + lanes.bias[j];
        if constexpr (!kHard) next -= lanes.subtract[j] * lanes.spike[j];
        const std::int32_t inside = within(-kMembraneMax, next, kMembraneMax);
        clipped += (inside != next) & (j < count);
        std::int32_t spike = inside > lanes.threshold[j];
        if constexpr (kTernary) spike -= inside < -lanes.threshold[j];
        lanes.spike[j] = spike;
        lanes.membrane[j] = kHard && spike != 0 ? 0 : inside;
    }
    return clipped;
}

template <bool kSmall, bool kHard, bool kTernary>
std::int64_t run_neurons_as(const Neurons& neurons, const NeuronRun& run) {
    std::int64_t clipped = 0;
    for (int first = 0; first < run.width; first += kLanes) {
        const int count = least(kLanes, run.width - first);
        const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(std::int32_t);
        Lanes lanes{};
        std::memcpy(lanes.threshold, neurons.threshold + first, bytes);
        std::memcpy(lanes.subtract, neurons.subtract + first, bytes);
        std::memcpy(lanes.bias, neurons.bias + first, bytes);
        std::uint8_t plus[kLanes] = {}, minus[kLanes] = {};
        std::int32_t current[kLanes] = {};
        for (int t = 0; t < run.steps; ++t) {
            std::memcpy(current, run.current + std::size_t(t) * run.current_stride + first, bytes);
            clipped += step_lanes<kSmall, kHard, kTernary>(lanes, neurons.keep, current, count);
            for (int j = 0; j < kLanes; ++j) plus[j] |= static_cast<std::uint8_t>((lanes.spike[j] > 0) << t);
            if constexpr (kTernary) {
                for (int j = 0; j < kLanes; ++j) minus[j] |= static_cast<std::uint8_t>((lanes.spike[j] < 0) << t);
            }
            if (run.membranes) {
                std::memcpy(run.membranes + std::size_t(t) * run.membrane_stride + first, lanes.membrane, bytes);
            }
        }
        std::memcpy(run.plus + first, plus, static_cast<std::size_t>(count));
        if (run.minus) std::memcpy(run.minus + first, minus, static_cast<std::size_t>(count));
    }
    return clipped;
}

inline std::int64_t run_neurons(const Neurons& neurons, const NeuronRun& run) {
    if (neurons.ternary) {
        return neurons.hard ? run_neurons_as<false, true, true>(neurons, run)
                            : run_neurons_as<false, false, true>(neurons, run);
    }
    if (neurons.small) {
        return neurons.hard ? run_neurons_as<true, true, false>(neurons, run)
                            : run_neurons_as<true, false, false>(neurons, run);
    }
    return neurons.hard ? run_neurons_as<false, true, false>(neurons, run)
                        : run_neurons_as<false, false, false>(neurons, run);
}

// --- Attention ---

inline int bits_in(std::uint64_t word) { return __builtin_popcountll(word); }

// score[j] = sum over channels of query * key_j, for 64 stored tokens from `first`.
inline void score_lanes(const HeadQuery& query, int step, std::size_t first, std::int32_t* score) {
    std::memset(score, 0, kLanes * sizeof *score);
    for (int s = 0; s < query.signs; ++s) {
        for (int z = 0; z < query.signs; ++z) {
            for (int w = 0; w < query.words; ++w) {
                const std::uint64_t asked = query.query[(step * query.signs + s) * query.words + w];
                const std::size_t row = std::size_t((step * query.signs + z) * query.words + w);
                const std::uint64_t* keys = query.keys + row * query.window + first;
                if (s == z) {
                    for (int j = 0; j < kLanes; ++j) score[j] += bits_in(asked & keys[j]);
                } else {
                    for (int j = 0; j < kLanes; ++j) score[j] -= bits_in(asked & keys[j]);
                }
            }
        }
    }
}

template <bool kSmall, bool kHard, bool kTernary>
std::int64_t spike_scores(const HeadQuery& query) {
    const std::size_t blocks = query.window / kLanes;
    std::int64_t clipped = 0;
    for (int first = 0; first < query.stored; first += kLanes) {
        const int count = least(kLanes, query.stored - first);
        const std::size_t block = static_cast<std::size_t>(first / kLanes);
        Lanes lanes{};
        for (int j = 0; j < kLanes; ++j) {
            lanes.threshold[j] = *query.neurons.threshold;
            lanes.subtract[j] = *query.neurons.subtract;
            lanes.bias[j] = *query.neurons.bias;
        }
        const std::uint64_t exists = count == kLanes ? ~0ull : (1ull << count) - 1;
        for (int t = 0; t < query.steps; ++t) {
            std::int32_t current[kLanes];
            score_lanes(query, t, static_cast<std::size_t>(first), current);
            for (int j = 0; j < kLanes; ++j) current[j] <<= query.exponent;
            clipped += step_lanes<kSmall, kHard, kTernary>(lanes, query.neurons.keep, current, count);
            std::uint64_t plus = 0, minus = 0;
            for (int j = 0; j < kLanes; ++j) plus |= static_cast<std::uint64_t>(lanes.spike[j] > 0) << j;
            query.spikes[std::size_t(t * query.signs) * blocks + block] = plus & exists;
            if constexpr (kTernary) {
                for (int j = 0; j < kLanes; ++j) minus |= static_cast<std::uint64_t>(lanes.spike[j] < 0) << j;
            }
            if (query.signs == 2) query.spikes[std::size_t(t * 2 + 1) * blocks + block] = minus & exists;
        }
    }
    return clipped;
}

// output[d] = sum over stored tokens of spike * value.
inline void mix_values(const HeadQuery& query) {
    const std::size_t blocks = query.window / kLanes;
    const std::size_t used = static_cast<std::size_t>((query.stored + kLanes - 1) / kLanes);
    for (int t = 0; t < query.steps; ++t) {
        std::int32_t* output = query.output + std::size_t(t) * std::size_t(query.head_dim);
        std::memset(output, 0, std::size_t(query.head_dim) * sizeof *output);
        for (int s = 0; s < query.signs; ++s) {
            const std::uint64_t* spikes = query.spikes + std::size_t(t * query.signs + s) * blocks;
            for (int z = 0; z < query.signs; ++z) {
                const std::uint64_t* values =
                    query.values + std::size_t(t * query.signs + z) * blocks * std::size_t(query.head_dim);
                for (std::size_t block = 0; block < used; ++block) {
                    const std::uint64_t spiked = spikes[block];
                    if (!spiked) continue;
                    const std::uint64_t* row = values + block * std::size_t(query.head_dim);
                    if (s == z) {
                        for (int d = 0; d < query.head_dim; ++d) output[d] += bits_in(spiked & row[d]);
                    } else {
                        for (int d = 0; d < query.head_dim; ++d) output[d] -= bits_in(spiked & row[d]);
                    }
                }
            }
        }
    }
}

inline std::int64_t attend(const HeadQuery& query) {
    const bool hard = query.neurons.hard;
    std::int64_t clipped;
    if (query.neurons.ternary) {
        clipped = hard ? spike_scores<false, true, true>(query) : spike_scores<false, false, true>(query);
    } else if (query.neurons.small) {
        clipped = hard ? spike_scores<true, true, false>(query) : spike_scores<true, false, false>(query);
    } else {
        clipped = hard ? spike_scores<false, true, false>(query) : spike_scores<false, false, false>(query);
    }
    mix_values(query);
    return clipped;
}

// --- Storing and counting ---

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

// The table of a file that has no kernels of its own.
inline Kernels table(const char* name) {
    Kernels made{};
    made.name = name;
    made.add_rows = add_rows;
    made.run_neurons = run_neurons;
    made.attend = attend;
    made.mix_values = mix_values;
    made.set_bits = set_bits;
    made.mark_nonzero = mark_nonzero;
    made.count_bits = count_bits;
    made.count_masks = count_masks;
    made.add_events = add_events;
    made.add_map = add_map<std::uint32_t>;
    made.run_stream = run_stream;
    made.collect = collect;
    return made;
}

}  // namespace generic
}  // namespace
}  // namespace bispik
