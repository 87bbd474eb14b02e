// Networks of every kind of node, in sizes that are multiples of nothing, whose numbers keep what the engine was
// promised.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "check.hpp"
#include "engine.hpp"

namespace bispik::test {

class RandomNetwork {
 public:
    // `tokens` is the length of the longest sequence; the window ends there or later.
    RandomNetwork(Random& random, int tokens, int steps, int largest_size);

    Network network;
    int vocabulary = 0;  // 0 if the network is given spikes instead

    // Whether a node's outputs fit the 16 bits of a record.
    bool recordable(int node) const { return reach_[static_cast<std::size_t>(node)] < 1 << 15; }

 private:
    int size_of(int node) const { return network.nodes[static_cast<std::size_t>(node)].size; }
    std::vector<int> candidates(bool spiking, int size, std::int64_t most) const;
    int pick(const std::vector<int>& nodes) {
        return nodes[static_cast<std::size_t>(random_.between(0, static_cast<std::int64_t>(nodes.size()) - 1))];
    }
    void add(Node node, std::int64_t reach);
    void add_input(int size);
    void add_population(int size, int source);
    void add_attention(int head_dim);
    void add_join(int size);
    void add_norm(int size);
    void add_readout();
    const std::int8_t* weights(std::size_t size);
    const std::int16_t* table(std::size_t size);
    void set_neurons(Node& node, std::size_t count, std::int64_t current);

    Random& random_;
    std::vector<std::int64_t> reach_;  // by node: no output is larger in magnitude
    std::vector<std::unique_ptr<Exact<std::int8_t>>> weights_;
    std::vector<std::unique_ptr<Exact<std::int16_t>>> tables_;
};

}  // namespace bispik::test
