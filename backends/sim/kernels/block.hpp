// What a block of tokens leaves behind: the outputs of every node, and the same as operands for the kernels.
#pragma once

#include <cstdint>
#include <vector>

#include "network.hpp"

namespace bispik {

// One token of a block: whose it is, and where it stands in its sequence.
struct Place {
    Sequence* sequence;
    int position;
    std::int64_t token;
};

// One byte of the magnitudes of one sign, for a source's outputs in all time steps of one token.
// A node's output is the sum over its planes of sign * (bytes << shift).
struct Plane {
    bool negative;
    int shift;
    bool binary = false;  // as `masks`, else as `values`
    int count = 0;        // rows, a multiple of kRowsAtOnce
    int nonzero = 0;      // rows without the padding
    std::vector<std::int32_t> rows;
    std::vector<std::uint8_t> masks;      // [rows]
    std::vector<std::uint8_t> values;     // [rows][kMaximalSteps]
    std::vector<std::uint32_t> operands;  // [columns][rows / 4]
};

// The same for all rows, tokens and columns side by side, zeros too: what `multiply` takes.
struct Spread {
    int depth = 0;                    // rows, rounded up to a multiple of kDepthAtOnce
    std::vector<std::uint8_t> bytes;  // [planes][tokens * columns][depth]
    std::vector<char> empty;          // [planes]: all of its bytes are 0
};

struct Output {
    std::vector<std::uint8_t> plus, minus;  // spikes: [tokens][size]
    std::vector<std::int32_t> graded;       // numbers: [tokens][steps][size]
    std::vector<Plane> planes;              // [tokens][planes], if a matrix reads them
    Spread spread;                          // if one reads many tokens at once
    bool has_planes = false, has_spread = false;
};

// Spikes of attention's score neurons: [tokens][heads][steps][signs][room / 64].
using ScoreSpikes = std::vector<std::uint64_t>;

struct Block {
    const Network* network;
    std::vector<Place> places;
    std::vector<Output> outputs;        // by node
    std::vector<ScoreSpikes> scores;    // by attention
    std::vector<std::int64_t> clipped;  // by node: membrane updates that were clipped, in this run

    int tokens() const { return static_cast<int>(places.size()); }
};

// A source's outputs as operands of a matrix, one column a time step, made at the first call.
const std::vector<Plane>& planes_of(Block& block, int source, const Kernels& kernels);
const Spread& spread_of(Block& block, int source);
// The same of its sums over the time steps: one column a token.
std::vector<Plane> summed_planes(const Block& block, int source);
Spread summed_spread(const Block& block, int source);
OutputForm summed_form(const Network& network, int source);
std::vector<std::int32_t> sums_over_steps(const Block& block, int source, int token);

// How many planes a form has.
inline int plane_count(const OutputForm& form) { return form.bytes() * (form.negative ? 2 : 1); }

// to[j] += output j << exponent, of a node at one time step of a token.
void add_outputs(const Block& block, int node, int token, int step, int exponent, std::int32_t* to);

}  // namespace bispik
