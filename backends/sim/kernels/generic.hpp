// The kernels without intrinsics. Every file of an instruction set includes this text and compiles it with its own
// flags, so that the compiler's vectors are as wide as they may be there.
//
// All of it lies in an anonymous namespace: a function that two files shared would be compiled with the flags of one of
// them, and could then run on a processor without those instructions.
#pragma once

#include <cstring>

#include "generic_bits.hpp"
#include "generic_numbers.hpp"
#include "generic_rows.hpp"
#include "generic_stream.hpp"
#include "kernels.hpp"

namespace bispik {
namespace {
namespace generic {

// --- Neurons ---

// State of up to kLanes neurons between two steps.
struct Lanes {
    std::int32_t membrane[kLanes];
    std::int32_t spike[kLanes];
    std::int32_t threshold[kLanes];
    std::int32_t subtract[kLanes];
    std::int32_t bias[kLanes];
};

// Copy the numbers of `count` neurons. All lanes are the usual case, and then the compiler knows how many.
template <typename Value>
inline void copy_lanes(Value* to, const Value* from, int count) {
    if (count == kLanes) {
        std::memcpy(to, from, kLanes * sizeof *to);
    } else {
        for (int j = 0; j < count; ++j) to[j] = from[j];
    }
}

// One step of all lanes; returns the number of clipped membranes among the first `count` lanes. From rest, membranes
// and spikes are 0 and not looked at.
template <bool kSmall, bool kHard, bool kTernary, bool kFromRest>
inline std::int32_t step_lanes(Lanes& lanes, std::int32_t keep, const std::int32_t* current, int count) {
    std::int32_t clipped = 0;
    for (int j = 0; j < kLanes; ++j) {
        std::int32_t next = current[j] + lanes.bias[j];
        if constexpr (!kFromRest) next += decayed<kSmall>(lanes.membrane[j], keep);
        if constexpr (!kFromRest && !kHard) next -= lanes.subtract[j] * lanes.spike[j];
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
        Lanes lanes;
        if (count < kLanes) lanes = {};
        copy_lanes(lanes.threshold, neurons.threshold + first, count);
        copy_lanes(lanes.subtract, neurons.subtract + first, count);
        copy_lanes(lanes.bias, neurons.bias + first, count);
        std::uint8_t plus[kLanes] = {}, minus[kLanes] = {};
        std::int32_t current[kLanes] = {};
        for (int t = 0; t < run.steps; ++t) {
            copy_lanes(current, run.current + std::size_t(t) * run.current_stride + first, count);
            clipped += t ? step_lanes<kSmall, kHard, kTernary, false>(lanes, neurons.keep, current, count)
                         : step_lanes<kSmall, kHard, kTernary, true>(lanes, neurons.keep, current, count);
            for (int j = 0; j < kLanes; ++j) plus[j] |= static_cast<std::uint8_t>((lanes.spike[j] > 0) << t);
            if constexpr (kTernary) {
                for (int j = 0; j < kLanes; ++j) minus[j] |= static_cast<std::uint8_t>((lanes.spike[j] < 0) << t);
            }
            if (run.membranes) {
                copy_lanes(run.membranes + std::size_t(t) * run.membrane_stride + first, lanes.membrane, count);
            }
        }
        copy_lanes(run.plus + first, plus, count);
        if (run.minus) copy_lanes(run.minus + first, minus, count);
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
            clipped += t ? step_lanes<kSmall, kHard, kTernary, false>(lanes, query.neurons.keep, current, count)
                         : step_lanes<kSmall, kHard, kTernary, true>(lanes, query.neurons.keep, current, count);
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

// The table of a file that has no kernels of its own.
inline Kernels table(const char* name) {
    Kernels made{};
    made.name = name;
    made.add_rows = add_rows;
    made.run_neurons = run_neurons;
    made.attend = attend;
    made.mix_values = mix_values;
    made.collect_masks = collect_masks;
    made.pack_bits = pack_bits;
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
