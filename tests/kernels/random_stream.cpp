#include "random_stream.hpp"

#include <algorithm>
#include <functional>
#include <numeric>

namespace bispik::test {
namespace {

constexpr std::int64_t kMembraneMax = (1 << 23) - 1;
constexpr std::int64_t kNarrow = std::int64_t{1} << 30;

std::size_t at(int index) { return static_cast<std::size_t>(index); }

int size_of(const std::vector<int>& map) { return std::accumulate(map.begin(), map.end(), 1, std::multiplies<int>()); }

// Every synapse of a convolution, by its definition.
std::vector<Synapse> synapses_of(const Geometry& geometry, const Exact<std::int8_t>& weights) {
    std::vector<Synapse> synapses;
    const int taken = geometry.source[0] / geometry.groups, made = geometry.target[0] / geometry.groups;
    const int rows = geometry.kernel[0], columns = geometry.kernel[1];
    for (int o = 0; o < geometry.target[0]; ++o) {
        for (int y = 0; y < geometry.target[1]; ++y) {
            for (int x = 0; x < geometry.target[2]; ++x) {
                for (int tap = 0; tap < taken * rows * columns; ++tap) {
                    const int c = o / made * taken + tap / (rows * columns);
                    const int i = tap / columns % rows, j = tap % columns;
                    const int v = y * geometry.stride[0] + i * geometry.dilation[0] - geometry.padding[0];
                    const int u = x * geometry.stride[1] + j * geometry.dilation[1] - geometry.padding[1];
                    if (v < 0 || v >= geometry.source[1] || u < 0 || u >= geometry.source[2]) continue;
                    synapses.push_back({at((c * geometry.source[1] + v) * geometry.source[2] + u),
                                        at((o * geometry.target[1] + y) * geometry.target[2] + x),
                                        weights[at(o * taken * rows * columns + tap)]});
                }
            }
        }
    }
    return synapses;
}

}  // namespace

RandomStream::RandomStream(Random& random, int largest) : random_(random) {
    const bool graded = random_.chance(.4);
    low = graded ? random_.one_of({0, -7, -70000}) : 0;
    high = graded ? random_.one_of({2, 255, 90000}) : 1;
    maps_.push_back(random_map(largest));
    network = {size_of(maps_[0]), graded, {}};
    for (int count = random_.number(1, 4); count > 0; --count) add_population(count == 1, largest);
    if (network.populations.size() > 1 && random_.chance(.4)) {  // a loop, or a delayed way back
        const int target = random_.number(1, static_cast<int>(network.populations.size()) - 1);
        const int source = random_.number(target, static_cast<int>(network.populations.size()));
        add_dense(target, source, random_.one_of({1, 2, 3, 9}));
    }
    plain = network.populations;
    for (std::size_t index = 0; index < plain.size(); ++index) {
        StreamPopulation& population = network.populations[index];
        population.wide = reached(index) >= kNarrow || random_.chance(.1);
        population.arrange();
    }
}

RandomStream::Map RandomStream::random_map(int largest) {
    if (random_.chance(.5)) return {random_.number(1, largest), 1, 1};
    return {random_.number(1, 5), random_.number(1, 8), random_.number(1, 8)};
}

void RandomStream::add_population(bool last, int largest) {
    const int source = random_.number(0, static_cast<int>(network.populations.size()));
    const int target = static_cast<int>(network.populations.size()) + 1;
    const int kind = random_.number(0, 3), from = size_of(maps_[at(source)]);
    Geometry geometry{};
    std::vector<int> map{kind == 1 ? from : random_.number(1, largest), 1, 1};
    if (kind == 3) {
        geometry = random_geometry(maps_[at(source)]);
        map = {geometry.target[0], geometry.target[1], geometry.target[2]};
    }
    maps_.push_back(map);
    inputs.emplace_back();
    network.populations.push_back(random_neurons(size_of(map), last));
    const int delay = random_.one_of({0, 0, 0, 1, 7, 70});
    if (kind == 0) add_dense(target, source, delay);
    if (kind == 1) add_paired(target, source, delay);
    if (kind == 2) add_sparse(target, source, delay);
    if (kind == 3) add_convolution(target, source, delay, geometry);
    if (random_.chance(.3)) add_dense(target, random_.number(0, target - 1), random_.one_of({0, 2}));
    if (random_.chance(.3)) add_sparse(target, random_.number(0, target - 1), random_.one_of({0, 2}));
    if (random_.chance(.2)) add_paired(target, target, random_.one_of({1, 4}));
}

Geometry RandomStream::random_geometry(const Map& map) {
    Geometry geometry{};
    std::vector<int> groups;
    for (int count = 1; count <= std::min(map[0], 8); ++count) {
        if (map[0] % count == 0) groups.push_back(count);
    }
    geometry.groups = groups[at(random_.number(0, static_cast<int>(groups.size()) - 1))];
    for (std::size_t i = 0; i < 3; ++i) geometry.source[i] = map[i];
    geometry.target[0] = geometry.groups * random_.one_of({1, 2, 4, 9, 17, 33});
    for (std::size_t i = 0; i < 2; ++i) {
        geometry.kernel[i] = random_.number(1, 4);
        geometry.stride[i] = random_.number(1, 3);
        geometry.padding[i] = random_.number(0, 3);
        geometry.dilation[i] = random_.number(1, 3);
        geometry.target[i + 1] = random_.number(1, map[i + 1] / geometry.stride[i] + 2);
    }
    return geometry;
}

StreamPopulation RandomStream::random_neurons(int size, bool last) {
    StreamPopulation made;
    const bool memory = random_.chance(.5);
    const int scale = random_.one_of({1, 40, 10000, 1 << 22, 1 << 28});
    for (int j = 0; j < size; ++j) {
        made.current_keep.push_back(memory ? random_.one_of({0, 4096, random_.number(0, 4096)}) : 0);
        made.keep.push_back(random_.one_of({0, 4096, random_.number(0, 4096)}));
        made.threshold.push_back(random_.number(-scale / 4, scale));
        made.subtract.push_back(random_.number(0, scale));
        made.bias.push_back(random_.number(-scale / 8, scale / 8));
        for (auto* start : {&made.initial, &made.initial_current}) {
            start->push_back(
                static_cast<int>(std::clamp<std::int64_t>(random_.number(-scale, scale), -kMembraneMax, kMembraneMax)));
        }
    }
    made.reset = static_cast<StreamReset>(random_.number(0, 2));
    made.spiking = !(last && random_.chance(.5));
    made.wide = false;
    return made;
}

Exact<std::int8_t>& RandomStream::random_weights(std::size_t count) {
    weights_.push_back(std::make_unique<Exact<std::int8_t>>(count, random_.number(0, 63)));
    fill_weights(random_, *weights_.back());
    return *weights_.back();
}

template <typename Wiring>
void RandomStream::add(int target, int source, int delay, Wiring wiring, std::vector<Synapse> synapses) {
    const int exponent = random_.one_of({0, 0, 6, 6, 10, largest_sent(source) == kMembraneMax ? 6 : 30});
    const double fan_in = static_cast<double>(synapses.size()) / size_of(maps_[at(target)]);
    network.populations[at(target) - 1].inputs.push_back({source, delay, exponent, fan_in, std::move(wiring)});
    inputs[at(target) - 1].push_back({source, delay, exponent, std::move(synapses)});
}

void RandomStream::add_dense(int target, int source, int delay) {
    const std::size_t from = at(size_of(maps_[at(source)])), size = at(size_of(maps_[at(target)]));
    const auto& weights = random_weights(from * size);
    std::vector<Synapse> synapses;
    for (std::size_t i = 0; i < from * size; ++i) synapses.push_back({i / size, i % size, weights[i]});
    add(target, source, delay, DenseSynapses{weights.data()}, std::move(synapses));
}

void RandomStream::add_paired(int target, int source, int delay) {
    const std::size_t size = at(size_of(maps_[at(target)]));
    const auto& weights = random_weights(size);
    std::vector<Synapse> synapses;
    for (std::size_t j = 0; j < size; ++j) synapses.push_back({j, j, weights[j]});
    add(target, source, delay, PairedSynapses{weights.data()}, std::move(synapses));
}

void RandomStream::add_sparse(int target, int source, int delay) {
    std::vector<std::int64_t> starts{0};
    std::vector<std::int32_t> sources;
    const int from = size_of(maps_[at(source)]);
    for (int j = 0; j < size_of(maps_[at(target)]); ++j) {
        for (int k = 0; k < from; ++k) {
            if (random_.chance(.2)) sources.push_back(k);
        }
        starts.push_back(static_cast<std::int64_t>(sources.size()));
    }
    const auto& weights = random_weights(sources.size());
    std::vector<Synapse> synapses;
    for (std::size_t j = 0; j + 1 < starts.size(); ++j) {
        for (auto i = static_cast<std::size_t>(starts[j]); i < static_cast<std::size_t>(starts[j + 1]); ++i) {
            synapses.push_back({at(sources[i]), j, weights[i]});
        }
    }
    add(target, source, delay, ColumnSynapses(starts, sources, weights.data(), from), std::move(synapses));
}

void RandomStream::add_convolution(int target, int source, int delay, const Geometry& geometry) {
    const int taken = geometry.source[0] / geometry.groups;
    const auto& weights = random_weights(at(geometry.target[0] * taken * geometry.kernel[0] * geometry.kernel[1]));
    add(target, source, delay, ConvolutionSynapses(geometry, weights.data()), synapses_of(geometry, weights));
}

std::int64_t RandomStream::largest_sent(int source) const {
    if (source == 0) return std::max(std::abs(low), std::abs(high));
    return network.populations[at(source) - 1].spiking ? 1 : kMembraneMax;
}

// Bound on what a population's synapses add up to in a step, and on its constants.
std::int64_t RandomStream::reached(std::size_t index) const {
    std::int64_t constants = 0;
    for (std::size_t j = 0; j < at(plain[index].size()); ++j) {
        constants = std::max<std::int64_t>(constants, std::abs(plain[index].bias[j]) + plain[index].subtract[j]);
    }
    std::int64_t sum = 0;
    for (const PlainProjection& input : inputs[index]) {
        std::vector<std::int64_t> rows(at(plain[index].size()), 0);
        for (const Synapse& synapse : input.synapses) rows[synapse.neuron] += std::abs(synapse.weight);
        sum += std::max<std::int64_t>(*std::max_element(rows.begin(), rows.end()), 1) * largest_sent(input.source)
               << input.exponent;
    }
    return std::max(sum, constants);
}

}  // namespace bispik::test
