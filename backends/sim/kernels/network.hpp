// A quantised program as the engine runs it: plain structures, filled once from Python. The equations are those of
// bispik.compiler.program; `reference.py` is the definition.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels.hpp"

namespace bispik {

// What a node sends in one time step: spikes of one or two signs, or whole numbers.
struct OutputForm {
    bool graded = false;
    bool negative = false;       // an output can be below 0
    std::int64_t magnitude = 1;  // no output is larger

    // Bytes that a magnitude takes, one plane of operands each.
    int bytes() const {
        int count = 1;
        for (std::int64_t rest = magnitude >> 8; rest; rest >>= 8) ++count;
        return count;
    }
};

enum class Wiring { dense, weighted, direct };  // a matrix; one weight per neuron; weight 1

struct Synapses {
    int source;
    Wiring wiring;
    const std::int8_t* weights;  // dense: [source size][neurons]; weighted: [neurons]; direct: null
    int exponent;
};

// Owned copies of a population's or an attention's constants.
struct NeuronConstants {
    std::int32_t decay;
    bool hard;
    bool ternary;
    std::vector<std::int32_t> threshold, subtract, bias;

    Neurons at(std::size_t first, bool small) const {
        return {4096 - decay,       hard, ternary, small, threshold.data() + first, subtract.data() + first,
                bias.data() + first};
    }
};

enum class Kind { given, injection, population, join, norm, attention, readout };

struct Node {
    Node(Kind the_kind, int the_size) : kind(the_kind), size(the_size) {}

    Kind kind;
    int size;
    OutputForm form;
    std::vector<Synapses> inputs;  // population; join and norm: wiring direct; attention: query, key, value
    NeuronConstants neurons{};     // population, attention
    bool small = false;            // see Neurons
    bool wide = false;             // currents need 64 bits
    // injection
    const std::int16_t* tokens = nullptr;     // [vocabulary][size]
    const std::int16_t* positions = nullptr;  // [window][size]
    std::vector<std::int32_t> gains;          // [steps]
    // norm
    int fraction_bits = 0, root_bits = 0;
    std::int64_t epsilon = 0;
    // attention
    int heads = 0, head_dim = 0, exponent = 0;
    int cache = -1;  // index among the attentions
    // readout: inputs[0] is dense, `size` the vocabulary
};

struct Network {
    int steps;
    int window;
    std::vector<Node> nodes;
    int attentions = 0;
    // Tokens that keys and values have room for, in whole words.
    std::size_t room() const { return (static_cast<std::size_t>(window) + 63) / 64 * 64; }
    int signs(const Node& attention) const {
        bool ternary = attention.neurons.ternary;
        for (const Synapses& input : attention.inputs) ternary = ternary || nodes[input.source].form.negative;
        return ternary ? 2 : 1;
    }
};

// Keys and values of one sequence, as bits; see HeadQuery for their layout within a head.
struct StoredTokens {
    std::vector<std::uint64_t> keys, values;
};

class Sequence {
 public:
    explicit Sequence(const Network& network);

    const Network* network;
    int position = 0;                  // tokens that have been run
    std::vector<StoredTokens> stored;  // one per attention
};

}  // namespace bispik
