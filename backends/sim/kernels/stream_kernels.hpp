// What the inner loops of stream networks take: synapses that events reach, and neurons over some time steps.
//
// An event is a source neuron that sent something other than 0 in a time step, and what it sent. Sums are unsigned, so
// that they may wrap: currents that are proven to fit are read as int32, all others are summed in 64 bits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bispik {

// Events of one source in one time step, each source neuron at most once.
struct Events {
    const std::int32_t* sources;  // [count]
    const std::int32_t* values;   // [count]; null if all are 1
    int count;
    int shift;  // every product is shifted left by so many bits
};

// Where a kernel's row of weights takes one row of the source.
struct Tap {
    std::int32_t weight;  // offset in the weights of a source channel
    std::int32_t target;  // offset among the neurons
};

// The same within a row: weights beside each other that reach neurons beside each other.
struct Run {
    std::int32_t weight, target;
    std::int32_t length;
};

// Synapses of a convolution; see Convolution in bispik.compiler.stream.wiring.
struct MapSynapses {
    const std::int16_t* weights;        // [source channels][kernel y][kernel x][channels]
    int channels;                       // of the target that a source neuron reaches: those of its group
    int kernel;                         // weights of a source channel: kernel y * kernel x * channels
    std::uint32_t area, width;          // of the source's map
    std::uint64_t per_area, per_width;  // see `divided` in generic_stream.hpp
    const std::int32_t* groups;         // [source channels]: the first neuron of its group
    const std::int32_t* row_starts;     // [source rows + 1]
    const Tap* row_taps;                // of source row y: [row_starts[y], row_starts[y + 1])
    const std::int32_t* column_starts;  // [source columns + 1]
    const Run* column_runs;
    int extent;  // no neuron of a target's row lies further behind its first in a group
    int stride;  // between the neurons of a run; if not 1, a run has one weight per channel
};

// Constants and state of neurons; see IntegerStreamNeurons in bispik.compiler.stream.program.
struct StreamNeurons {
    const std::int32_t* current_keep;  // 4096 - current_decay
    const std::int32_t* keep;          // 4096 - decay
    const std::int32_t* threshold;
    const std::int32_t* subtract;
    const std::int32_t* bias;
    std::int32_t* current;
    std::int32_t* membrane;
    std::int32_t* spike;  // of the step before
    bool memory;          // some current is kept
    bool hard, soft;
    bool spiking;  // else the membrane is sent
};

// Some steps of `width` neurons.
struct StreamRun {
    int steps;
    int width;
    const std::uint32_t* currents;  // [steps][current_stride]
    std::size_t current_stride;
    std::int32_t* sent;       // [steps][sent_stride]
    std::int32_t* membranes;  // [steps][sent_stride]: stored membranes; null if nobody asks
    std::size_t sent_stride;
};

}  // namespace bispik
