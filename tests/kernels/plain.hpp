// The definition once more, as slow and plain as it can be: one number at a time, in 64 bits. See docs/numerics.md.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "engine.hpp"

namespace bispik::test {

struct PlainNeuron {
    std::int64_t membrane = 0, spike = 0;

    // Takes one time step; returns whether the membrane was clipped.
    bool step(const Neurons& neurons, std::size_t index, std::int64_t current);
};

using Numbers = std::vector<std::int64_t>;

// One token: what every node sent and kept.
struct PlainToken {
    std::vector<std::vector<Numbers>> outputs;                // [node][step][size]
    std::vector<std::vector<Numbers>> membranes;              // [node][step][size], of populations
    std::map<int, std::vector<std::vector<Numbers>>> scores;  // by attention: [step][head][stored]
    Numbers accumulators, readout_sums;
};

// A sequence on its own.
class PlainSequence {
 public:
    explicit PlainSequence(const Network& network) : clipped(network.nodes.size(), 0), network_(network) {}

    // Spikes of `given` nodes: [node][step][size], others empty.
    const PlainToken& run(std::int64_t token, const std::vector<std::vector<Numbers>>& given);

    std::vector<PlainToken> tokens;  // all that were run
    Numbers clipped;                 // by node

 private:
    Numbers current(const PlainToken& token, const Node& node, std::size_t step) const;
    void run_neurons(PlainToken& token, std::size_t index);
    void attend(PlainToken& token, std::size_t index);
    void read_out(PlainToken& token, const Node& node) const;

    const Network& network_;
};

}  // namespace bispik::test
