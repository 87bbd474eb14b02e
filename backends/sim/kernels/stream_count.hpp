// Events of a stream network on a mapping, counted while the engine runs, from the lists of what was sent in each step.
//
// What counts as which event is defined in bispik.backends.stream.counts. The mapping comes as plain numbers: which
// slices and neurons a spike reaches, and what it costs on its way. Source neurons for which that is the same are a
// class; most networks have few of them, and then events are counted by class first.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "pool.hpp"

namespace bispik {

// What a source sent in one step.
struct StreamSent {
    std::vector<std::int32_t> sources, values;  // no values: all are 1
};

// Of every row i the entries [starts[i], starts[i + 1]).
struct RowStarts {
    std::vector<std::int64_t> starts;

    std::size_t begin(std::size_t row) const { return static_cast<std::size_t>(starts[row]); }
    std::size_t end(std::size_t row) const { return static_cast<std::size_t>(starts[row + 1]); }
};

// So many synapses of a source neuron lie in a slice.
struct FanOut {
    std::int32_t slice, synapses;
};

// Source neurons that reach the same neurons are a pool; units are neurons that are always reached together.
struct CountedProjection {
    int source, delay;                  // see StreamSynapses
    std::vector<std::int32_t> classes;  // of each source neuron
    RowStarts fan_out_rows;             // by class
    std::vector<FanOut> fan_outs;
    bool everywhere;                  // whatever arrives reaches every neuron: no pools and units
    std::vector<std::int32_t> pools;  // of each source neuron; empty: each is its own
    RowStarts unit_rows;              // by pool
    std::vector<std::int32_t> units;
    std::vector<std::uint64_t> masks;  // [pools][words_of(units)]: the same as bits; empty where that takes longer
    std::vector<std::uint8_t> filled;  // [slices]: all its neurons are reached if any is

    // Make the masks if they pay.
    void mask(std::size_t unit_count);
};

inline std::size_t words_of(std::size_t bits) { return (bits + 63) / 64; }

// Neurons of a slice: so many of each of some units beside each other.
struct UnitRun {
    std::int32_t first, stop, neurons;
};

// A message's cost comes in so many kinds; the rows are padded with 0.
constexpr std::size_t kCosts = 8;
using Costs = std::array<std::int64_t, kCosts>;

// What every value that a source sends costs, by class.
struct CountedSource {
    std::vector<std::int32_t> classes;  // of each neuron; empty where nothing costs anything
    std::vector<Costs> costs;
};

struct CountedPopulation {
    std::vector<std::int64_t> neurons;  // [slices]
    std::size_t unit_count;
    RowStarts run_rows;  // by slice
    std::vector<UnitRun> runs;
    std::vector<CountedProjection> inputs;
};

// Where the numbers of a run's steps are written; m: slices.
struct StreamTally {
    std::vector<std::int64_t*> synops;   // by population, [inputs][m][steps]: synapses reached
    std::vector<std::int64_t*> updated;  // by population, [m][steps]: neurons reached
    std::vector<std::int64_t*> costs;    // by source, the input first: [kCosts][steps]
    std::vector<std::int64_t*> sent;     // by source, [classes]: what was not 0; added to
    std::int64_t steps = 0;              // of the whole run
    std::int64_t done = 0;               // of them
};

class StreamCounting {
 public:
    using Look = std::function<const StreamSent&(int source, std::int64_t step)>;

    std::vector<CountedSource> sources;  // the input first
    std::vector<CountedPopulation> populations;

    // Count the run's next steps, of which the first is the sequence's step `position`. `look` gives what was sent in
    // them, and before them as far back as delays reach.
    void count(Pool& pool, const Look& look, std::int64_t position, int steps, StreamTally& tally) const;

 private:
    void count_sent(int source, const Look& look, std::int64_t position, int steps, const StreamTally& tally) const;
    void count_reached(std::size_t index, const Look& look, std::int64_t step, std::int64_t row,
                       const StreamTally& tally) const;
};

}  // namespace bispik
