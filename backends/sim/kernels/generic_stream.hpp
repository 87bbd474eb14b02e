// The inner loops of stream networks without intrinsics; see generic.hpp for why all of it lies in an anonymous
// namespace. Synapses come for sums of 32 bits and of 64, which stream_wide.cpp takes.
#pragma once

#include <cstring>

#include "generic_numbers.hpp"
#include "stream_kernels.hpp"

namespace bispik {
namespace {
namespace generic {

// --- Synapses ---

constexpr int kRowsTogether = 4;      // of which each sum is loaded and stored once
constexpr int kEventsAhead = 8;       // whose weights are fetched before they are needed
constexpr int kShortAdditions = 252;  // of int8 weights that an int16 holds, in whole groups

template <typename Sum>
inline Sum scaled(std::int32_t value, int shift) {
    return static_cast<Sum>(value) << shift;
}

template <typename Sum>
inline Sum widened(std::int8_t weight) {
    return static_cast<Sum>(weight);
}

// sums[j] += sum over events of (value * weights[source][j]) << shift, for j < width.
template <typename Sum>
void add_valued_events(const std::int8_t* weights, std::size_t stride, const Events& events, int width,
                       Sum* __restrict sums) {
    const auto row = [&](int i) { return weights + static_cast<std::size_t>(events.sources[i]) * stride; };
    const auto scale = [&](int i) { return scaled<Sum>(events.values ? events.values[i] : 1, events.shift); };
    int i = 0;
    for (; i + kRowsTogether <= events.count; i += kRowsTogether) {
        const std::int8_t *a = row(i), *b = row(i + 1), *c = row(i + 2), *d = row(i + 3);
        const Sum p = scale(i), q = scale(i + 1), r = scale(i + 2), s = scale(i + 3);
        for (int j = 0; j < width; ++j) {
            sums[j] +=
                widened<Sum>(a[j]) * p + widened<Sum>(b[j]) * q + widened<Sum>(c[j]) * r + widened<Sum>(d[j]) * s;
        }
    }
    for (; i < events.count; ++i) {
        const std::int8_t* a = row(i);
        const Sum p = scale(i);
        for (int j = 0; j < width; ++j) sums[j] += widened<Sum>(a[j]) * p;
    }
}

// The same for events of 1: in 16 bits as long as these hold the sums.
inline void add_spike_rows(const std::int8_t* weights, std::size_t stride, const Events& events, int width,
                           std::uint32_t* __restrict sums) {
    constexpr int kWidth = 1024;
    std::int16_t short_sums[kWidth];
    const auto row = [&](int i) { return weights + static_cast<std::size_t>(events.sources[i]) * stride; };
    for (int first = 0; first < events.count; first += kShortAdditions) {
        const int stop = least(first + kShortAdditions, events.count);
        std::memset(short_sums, 0, static_cast<std::size_t>(width) * sizeof *short_sums);
        int i = first;
        for (; i + kRowsTogether <= stop; i += kRowsTogether) {
            for (int ahead = i + kEventsAhead; ahead < least(i + kEventsAhead + kRowsTogether, events.count); ++ahead) {
                for (int j = 0; j < width; j += 64) __builtin_prefetch(row(ahead) + j, 0, 3);
            }
            const std::int8_t *a = row(i), *b = row(i + 1), *c = row(i + 2), *d = row(i + 3);
            for (int j = 0; j < width; ++j) {
                short_sums[j] = static_cast<std::int16_t>(short_sums[j] + ((a[j] + b[j]) + (c[j] + d[j])));
            }
        }
        for (; i < stop; ++i) {
            const std::int8_t* a = row(i);
            for (int j = 0; j < width; ++j) short_sums[j] = static_cast<std::int16_t>(short_sums[j] + a[j]);
        }
        for (int j = 0; j < width; ++j) sums[j] += scaled<std::uint32_t>(short_sums[j], events.shift);
    }
}

inline void add_events(const std::int8_t* weights, std::size_t stride, const Events& events, int width,
                       std::uint32_t* sums) {
    constexpr int kWidth = 1024;
    for (int first = 0; first < width; first += kWidth) {
        const int some = least(kWidth, width - first);
        if (events.values) {
            add_valued_events(weights + first, stride, events, some, sums + first);
        } else {
            add_spike_rows(weights + first, stride, events, some, sums + first);
        }
    }
}

// number / divisor for the reciprocal 2^64 / divisor, rounded up; 0 stands for that of 1.
inline std::uint32_t divided(std::uint32_t number, std::uint64_t reciprocal) {
    if (!reciprocal) return number;
    return static_cast<std::uint32_t>((static_cast<unsigned __int128>(reciprocal) * number) >> 64);
}

// sums[j] += (value * weights[j]) << shift: a vector of them at a time.
template <bool kSpikes, typename Sum>
inline void add_run(const std::int16_t* weights, int length, std::int32_t value, int shift, Sum* sums) {
    constexpr int kTogether = 16, kHalf = 8;
    const auto product = [&](int j) {
        const Sum weight = static_cast<Sum>(weights[j]);
        return kSpikes ? weight << shift : weight * scaled<Sum>(value, shift);
    };
    int j = 0;
    for (; j + kTogether <= length; j += kTogether) {
        for (int k = 0; k < kTogether; ++k) sums[j + k] += product(j + k);
    }
    if (j + kHalf <= length) {
        for (int k = 0; k < kHalf; ++k) sums[j + k] += product(j + k);
        j += kHalf;
    }
    for (; j < length; ++j) sums[j] += product(j);
}

// See `add_map`; `given` and `events` are copied, for the compiler cannot know that sums are not in them.
template <typename Sum, bool kSpikes>
void add_map_of(const MapSynapses& given, const Events& events, int first, int width, Sum* sums) {
    const MapSynapses map = given;
    const Events all = events;
    for (int i = 0; i < all.count; ++i) {
        const auto source = static_cast<std::uint32_t>(all.sources[i]);
        const std::int32_t value = kSpikes ? 1 : all.values[i];
        const std::uint32_t channel = divided(source, map.per_area), place = source - channel * map.area;
        const std::uint32_t y = divided(place, map.per_width), x = place - y * map.width;
        const std::int16_t* weights = map.weights + std::size_t(channel) * std::size_t(map.kernel);
        const std::int32_t rows = map.row_starts[y], rows_end = map.row_starts[y + 1];
        if (rows == rows_end) continue;
        // The further down in the kernel, the further up in the target.
        const int bottom = map.groups[channel] - first + map.row_taps[rows].target;
        const int top = map.groups[channel] - first + map.row_taps[rows_end - 1].target;
        if (bottom + map.extent <= 0 || top >= width) continue;
        const Run *begin = map.column_runs + map.column_starts[x], *end = map.column_runs + map.column_starts[x + 1];
        const int group = map.groups[channel] - first;
        for (std::int32_t r = rows; r < rows_end; ++r) {
            const Tap row = map.row_taps[r];
            for (const Run* run = begin; run < end; ++run) {
                const std::int16_t* taken = weights + row.weight + run->weight;
                const int target = group + row.target + run->target;
                if (map.stride == 1) {
                    const int from = within(0, target, width), to = within(0, target + run->length, width);
                    add_run<kSpikes>(taken + (from - target), to - from, value, all.shift, sums + from);
                    continue;
                }
                for (int j = 0; j < run->length; ++j) {
                    const int neuron = target + j * map.stride;
                    if (0 <= neuron && neuron < width) {
                        sums[neuron] += static_cast<Sum>(taken[j]) * scaled<Sum>(value, all.shift);
                    }
                }
            }
        }
    }
}

// sums[n - first] += what events cause at neuron n, for first <= n < first + width.
template <typename Sum>
void add_map(const MapSynapses& map, const Events& events, int first, int width, Sum* sums) {
    if (events.values) {
        add_map_of<Sum, false>(map, events, first, width, sums);
    } else {
        add_map_of<Sum, true>(map, events, first, width, sums);
    }
}

// --- Neurons ---

// State and constants of up to kLanes neurons over some steps.
struct StreamLanes {
    std::int32_t current_keep[kLanes], keep[kLanes], threshold[kLanes], subtract[kLanes], bias[kLanes];
    std::int32_t current[kLanes], membrane[kLanes], spike[kLanes];
};

// One step of all lanes; returns how many membranes were clipped.
template <bool kMemory, bool kHard, bool kSoft, bool kSpiking>
inline std::int32_t step_stream(StreamLanes& lanes, const std::int32_t* arriving, std::int32_t* sent) {
    std::int32_t clipped = 0;
    for (int j = 0; j < kLanes; ++j) {
        std::int32_t current = arriving[j];
        if constexpr (kMemory) current += decayed<false>(lanes.current[j], lanes.current_keep[j]);
        current = within(-kMembraneMax, current, kMembraneMax);
        if constexpr (kMemory) lanes.current[j] = current;
        std::int32_t next = decayed<false>(lanes.membrane[j], lanes.keep[j]) + current + lanes.bias[j];
        if constexpr (kSoft) next -= lanes.spike[j] ? lanes.subtract[j] : 0;
        const std::int32_t inside = within(-kMembraneMax, next, kMembraneMax);
        clipped += inside != next;
        const std::int32_t spike = kSpiking && inside > lanes.threshold[j];
        if constexpr (kSoft) lanes.spike[j] = spike;
        lanes.membrane[j] = kHard && spike ? 0 : inside;
        sent[j] = kSpiking ? spike : inside;
    }
    return clipped;
}

template <bool kMemory, bool kHard, bool kSoft, bool kSpiking>
std::int64_t run_stream_as(const StreamNeurons& neurons, const StreamRun& run) {
    std::int64_t clipped = 0;
    for (int first = 0; first < run.width; first += kLanes) {
        const int count = least(kLanes, run.width - first);
        const std::size_t bytes = static_cast<std::size_t>(count) * sizeof(std::int32_t);
        StreamLanes lanes;
        if (count < kLanes) std::memset(&lanes, 0, sizeof lanes);  // lanes without a neuron stay at 0
        if constexpr (kMemory) {
            std::memcpy(lanes.current_keep, neurons.current_keep + first, bytes);
            std::memcpy(lanes.current, neurons.current + first, bytes);
        }
        std::memcpy(lanes.keep, neurons.keep + first, bytes);
        std::memcpy(lanes.bias, neurons.bias + first, bytes);
        std::memcpy(lanes.membrane, neurons.membrane + first, bytes);
        if constexpr (kSpiking) std::memcpy(lanes.threshold, neurons.threshold + first, bytes);
        if constexpr (kSoft) {
            std::memcpy(lanes.subtract, neurons.subtract + first, bytes);
            std::memcpy(lanes.spike, neurons.spike + first, bytes);
        }
        for (int t = 0; t < run.steps; ++t) {
            const std::size_t row = static_cast<std::size_t>(t);
            std::int32_t arriving[kLanes], sent[kLanes];
            if (count < kLanes) std::memset(arriving, 0, sizeof arriving);
            std::memcpy(arriving, run.currents + row * run.current_stride + first, bytes);
            clipped += step_stream<kMemory, kHard, kSoft, kSpiking>(lanes, arriving, sent);
            std::memcpy(run.sent + row * run.sent_stride + first, sent, bytes);
            if (run.membranes) std::memcpy(run.membranes + row * run.sent_stride + first, lanes.membrane, bytes);
        }
        if constexpr (kMemory) std::memcpy(neurons.current + first, lanes.current, bytes);
        if constexpr (kSoft) std::memcpy(neurons.spike + first, lanes.spike, bytes);
        std::memcpy(neurons.membrane + first, lanes.membrane, bytes);
    }
    return clipped;
}

template <bool kMemory>
std::int64_t run_stream_with(const StreamNeurons& neurons, const StreamRun& run) {
    if (!neurons.spiking) return run_stream_as<kMemory, false, false, false>(neurons, run);
    if (neurons.hard) return run_stream_as<kMemory, true, false, true>(neurons, run);
    if (neurons.soft) return run_stream_as<kMemory, false, true, true>(neurons, run);
    return run_stream_as<kMemory, false, false, true>(neurons, run);
}

inline std::int64_t run_stream(const StreamNeurons& neurons, const StreamRun& run) {
    return neurons.memory ? run_stream_with<true>(neurons, run) : run_stream_with<false>(neurons, run);
}

// Write the places of all values other than 0, in order; returns how many there are.
inline int collect(const std::int32_t* values, int size, std::int32_t* places) {
    int count = 0;
    for (int j = 0; j < size; ++j) {
        places[count] = j;
        count += values[j] != 0;
    }
    return count;
}

}  // namespace generic
}  // namespace
}  // namespace bispik
