// Stream networks with random everything, and the same network plainly.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "check.hpp"
#include "stream.hpp"

namespace bispik::test {

struct Synapse {
    std::size_t source, neuron;
    std::int64_t weight;
};

// Synapses one by one, in the network's order of neurons.
struct PlainProjection {
    int source, delay, exponent;
    std::vector<Synapse> synapses;
};

class RandomStream {
 public:
    // No population has more than `largest` neurons, unless it is a map.
    RandomStream(Random& random, int largest);

    StreamNetwork network;
    std::vector<std::vector<PlainProjection>> inputs;  // by population
    std::vector<StreamPopulation> plain;               // constants in the network's order
    int low, high;                                     // of the input

 private:
    using Map = std::vector<int>;  // channels, height, width

    void add_population(bool last, int largest);
    StreamPopulation random_neurons(int size, bool last);
    Map random_map(int largest);
    Geometry random_geometry(const Map& map);
    Exact<std::int8_t>& random_weights(std::size_t count);
    void add_dense(int target, int source, int delay);
    void add_paired(int target, int source, int delay);
    void add_sparse(int target, int source, int delay);
    void add_convolution(int target, int source, int delay, const Geometry& geometry);
    std::int64_t largest_sent(int source) const;
    std::int64_t reached(std::size_t index) const;

    template <typename Wiring>
    void add(int target, int source, int delay, Wiring wiring, std::vector<Synapse> synapses);

    Random& random_;
    std::vector<std::unique_ptr<Exact<std::int8_t>>> weights_;
    std::vector<Map> maps_;  // by source
};

}  // namespace bispik::test
