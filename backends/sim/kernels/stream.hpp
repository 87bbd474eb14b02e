// A stream network in plain structures, and the engine that runs it: populations one after the other, each for all
// steps of a block; populations on a loop step by step.
//
// The numbers are those of bispik.compiler.stream.program.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <variant>
#include <vector>

#include "kernels.hpp"
#include "pool.hpp"
#include "stream_count.hpp"

namespace bispik {

// --- The network ---

// Every synapse's weight, where the program has it.
struct DenseSynapses {
    const std::int8_t* weights;  // [source size][neurons]
};

// Source neuron i reaches neuron i.
struct PairedSynapses {
    const std::int8_t* weights;
};

// Any pattern, by source neuron.
struct ColumnSynapses {
    std::vector<std::int64_t> starts;  // [source size + 1]
    std::vector<std::int32_t> targets;
    std::vector<std::int8_t> weights;

    // Of synapses by neuron, of which neuron j has [row_starts[j], row_starts[j + 1]).
    ColumnSynapses(std::span<const std::int64_t> row_starts, std::span<const std::int32_t> sources,
                   const std::int8_t* row_weights, int source_size);
};

// A kernel that slides over a map; see Convolution in bispik.compiler.stream.wiring. Pairs are along y and along x.
struct Geometry {
    int source[3], target[3];  // channels, height, width
    int kernel[2], stride[2], padding[2], dilation[2];
    int groups;

    bool operator==(const Geometry&) const = default;
};

struct ConvolutionSynapses {
    Geometry geometry;
    std::vector<int> columns;           // of the kernel, in the order in which weights have them
    std::vector<std::int16_t> weights;  // see MapSynapses
    std::vector<std::int32_t> groups, row_starts, column_starts;
    std::vector<Tap> row_taps;
    std::vector<Run> column_runs;
    bool beside = false;  // the neurons of a place's channels lie beside each other

    // `given` are [target channels][source channels / groups][kernel y][kernel x].
    ConvolutionSynapses(const Geometry& the_geometry, const std::int8_t* given);

    void arrange(bool channels_beside);
    MapSynapses map() const;

 private:
    // Whether what a source neuron reaches at one place lies beside each other.
    bool adjacent() const { return beside || geometry.target[0] == geometry.groups; }
};

struct StreamSynapses {
    int source;  // 0: the host's input; i + 1: population i
    int delay;
    int exponent;
    double fan_in;  // synapses a neuron, on average
    std::variant<DenseSynapses, PairedSynapses, ColumnSynapses, ConvolutionSynapses> wiring;
};

enum class StreamReset { hard, soft, none };

struct StreamPopulation {
    int size() const { return static_cast<int>(threshold.size()); }
    StreamNeurons neurons(std::size_t first) const;  // constants only

    std::vector<std::int32_t> current_keep, keep, threshold, subtract, bias, initial, initial_current;  // [size]
    StreamReset reset;
    bool spiking;  // else the membrane is sent
    bool wide;     // currents or constants are larger than the kernels take
    std::vector<StreamSynapses> inputs;

    // Set by `arrange`. Neurons may lie in an order of their own, so that channels are beside each other: the i-th is
    // the network's order[i], and place[order[i]] is i. Both are empty where the orders are the same.
    std::vector<std::int32_t> order, place;
    bool memory = false;

    // Choose the order and put everything into it; once, when all inputs are there.
    void arrange();
};

// Populations on a common loop, or one that is on none; in the order in which a step visits them.
struct Component {
    std::vector<int> populations;
    bool loop;
};

struct StreamNetwork {
    int input_size;
    bool graded;  // the host may send something other than 0 and 1
    std::vector<StreamPopulation> populations;

    int size(int source) const {
        return source == 0 ? input_size : populations[static_cast<std::size_t>(source) - 1].size();
    }
    // Each behind those whose outputs it takes, delayed or not.
    std::vector<Component> components() const;
};

// --- The engine ---

// Where a run's activity is written: by population [steps][size], null where nobody asks; what is sent may only be null
// for an engine that counts.
struct StreamRecord {
    std::vector<std::int32_t*> sent;
    std::vector<std::int32_t*> membranes;
    std::int64_t* clipped;  // [populations], added to
    StreamTally tally{};    // where the engine counts; its arrays begin as 0
};

// One sequence on a network whose populations are arranged.
class StreamEngine {
 public:
    // `counting` says what to count, unless it is null; it outlives the engine.
    StreamEngine(const StreamNetwork& network, const Kernels& kernels, int threads,
                 const StreamCounting* counting = nullptr);

    // Run the next steps, block by block; `values` are [steps][input size]. `between` is called between two blocks and
    // may throw: what was run until then stays.
    void run(const std::int32_t* values, std::int64_t steps, const StreamRecord& record,
             const std::function<void()>& between);

    std::int64_t position() const { return position_; }
    const Kernels& kernels() const { return kernels_; }

 private:
    enum class Which { all, outside, inside };  // of a population's inputs: from other components, or its own

    struct Rows {  // steps of a block
        int first, stop;
        int count() const { return stop - first; }
    };

    // State, and where the sums and outputs of a block begin in the buffers.
    struct State {
        std::vector<std::int32_t> current, membrane, spike;
        std::size_t offset;
    };

    void run_block(const std::int32_t* values, int steps);
    void run_layer(int index, int steps);
    void run_loop(const Component& component, int steps);
    void share(int index, int steps, const std::function<void(int, int)>& strip);
    void add_inputs(int index, Which which, Rows rows, int first, int width);
    std::int64_t run_neurons(int index, Rows rows, int first, int width);
    void publish(int index, int row);
    void write(int index, int row, const StreamSent& sent);
    bool buffered(int index) const;
    void list(const std::int32_t* values, int size, const std::vector<std::int32_t>& order, bool graded,
              StreamSent& sent);
    void for_rows(int steps, int size, const std::function<void(int)>& row);
    StreamSent& sent_at(int source, std::int64_t step);

    const StreamNetwork& network_;
    const Kernels& kernels_;
    const StreamCounting* const counting_;
    Pool pool_;
    std::vector<Component> components_;
    std::vector<int> component_of_;              // by source; -1 for the input
    std::vector<std::vector<StreamSent>> past_;  // by source: a ring of steps; empty if nobody takes it
    std::vector<State> states_;                  // by population
    std::vector<std::uint32_t> narrow_;          // sums of a component, [steps][size] of each population
    std::vector<std::uint64_t> wide_;            // the same in 64 bits
    std::vector<std::int32_t> outputs_;    // of populations with an order of their own, and of all where one counts
    std::vector<std::int32_t> membranes_;  // of populations with an order of their own
    StreamRecord block_;                   // of the block that runs
    int block_steps_;
    std::int64_t position_ = 0;
};

// --- Where 32 bits do not suffice: see stream_wide.cpp ---

void add_events_wide(const std::int8_t* weights, std::size_t stride, const Events& events, int width,
                     std::uint64_t* sums);
void add_map_wide(const MapSynapses& map, const Events& events, int first, int width, std::uint64_t* sums);
std::int64_t run_stream_wide(const StreamNeurons& neurons, int steps, int width, const std::uint64_t* currents,
                             std::size_t current_stride, std::int32_t* sent, std::int32_t* membranes,
                             std::size_t sent_stride);

}  // namespace bispik
