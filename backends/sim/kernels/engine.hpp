// Runs a network: node after node, every node for all tokens of a block and all time steps at once.
//
// Only keys and values pass from token to token, so that is the order in which each weight is read once per block.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <vector>

#include "block.hpp"
#include "kernels.hpp"
#include "pool.hpp"

namespace bispik {

// Where a run's activity is written, if anybody asks. Row i belongs to the i-th token of the run.
struct Record {
    std::map<int, std::int16_t*> outputs;  // by node: [tokens][steps][size]
    std::map<int, std::int8_t*> scores;    // by attention node: [tokens][steps][heads][score_stride]
    std::size_t score_stride = 0;
    std::map<int, std::int32_t*> membranes;  // by node: [tokens][steps][size]
};

// Spikes that the caller gives to nodes of kind `given`: [tokens][size] masks each.
struct Given {
    int node;
    const std::uint8_t* plus;
    const std::uint8_t* minus;  // null if the node's spikes are binary
};

// Channels [start, stop) in which at least one of the nodes has an output other than 0.
struct Segment {
    std::vector<int> nodes;
    int start, stop;
};

// Spikes of one head's score neurons of stored tokens [first, last).
struct ScoreSegment {
    int node, head, first, last;
};

// Channels [start, stop) whose sum over stored tokens [first, last) is not 0.
struct PartialSegment {
    int node, start, stop, first, last;
};

struct Counting {
    std::vector<Segment> segments;
    std::vector<ScoreSegment> scores;
    std::vector<PartialSegment> partials;
};

// By node: masks of the steps in which its channels sent anything, [tokens][size] of a block.
class Sent {
 public:
    // Forget the last block; only nodes that are counted will have masks.
    void start(const Network& network, const Counting& counting);
    // Take what a node has just sent, while it is still in a cache.
    void add(const Block& block, int index, const Kernels& kernels);
    const std::uint8_t* masks(int node) const { return masks_[static_cast<std::size_t>(node)]; }

 private:
    std::vector<std::vector<std::uint8_t>> made_;
    std::vector<const std::uint8_t*> masks_;  // null for nodes that nobody counts
    std::vector<char> wanted_;
};

struct Results {
    std::int64_t* accumulators = nullptr;  // [tokens][vocabulary]
    std::int32_t* readout_sums = nullptr;  // [tokens][size of the readout's source]: sums over the steps
    std::int64_t* clipped = nullptr;       // [nodes], added to
    std::int32_t* counts = nullptr;        // [tokens][segments, scores, partials][steps]
};

class Engine {
 public:
    Engine(const Network& network, const Kernels& kernels, int threads);

    // Run tokens, block by block; tokens of one sequence stand in order. `between` is called between two blocks and
    // may throw: what was run until then stays in the sequences.
    void run(std::span<const Place> places, const std::vector<Given>& given, const Record& record,
             const Results& results, const Counting& counting, const std::function<void()>& between);

    const Kernels& kernels() const { return kernels_; }

 private:
    void run_block(std::span<const Place> places, std::size_t first, const std::vector<Given>& given,
                   const Record& record, const Results& results, const Counting& counting);

    const Network& network_;
    const Kernels& kernels_;
    Pool pool_;
    Block block_;
    Sent sent_;
};

// How many tokens one block holds at most: their operands stay in the second-level cache.
inline constexpr int kBlockTokens = 64;

// --- The nodes, each in its file ---

struct Membranes {  // [tokens][steps][size] of the block's tokens, or null
    std::int32_t* data = nullptr;
};

void run_injection(Block& block, int index);
void run_join(Block& block, int index);
void run_norm(Block& block, int index);
void normalise(const Node& node, const std::int32_t* values, std::int32_t* out);  // one vector
void run_population(Block& block, int index, const Kernels& kernels, Pool& pool, Membranes membranes);
void run_attention(Block& block, int index, const Kernels& kernels, Pool& pool);
void run_readout(Block& block, int index, const Kernels& kernels, Pool& pool, std::int64_t* accumulators,
                 std::int32_t* sums);
void count_block(const Block& block, const Counting& counting, const Kernels& kernels, Pool& pool, const Sent& sent,
                 std::int32_t* counts);

// --- Where 32 bits do not suffice: see wide.cpp ---

std::int64_t run_wide_neurons(const Neurons& neurons, int steps, int width, const std::int64_t* current,
                              std::size_t stride, std::uint8_t* plus, std::uint8_t* minus, std::int32_t* membranes,
                              std::size_t membrane_stride);
std::int64_t attend_wide(const HeadQuery& query);

}  // namespace bispik
