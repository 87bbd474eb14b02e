// Stream networks with random everything against plain loops over the definition: every table, one to three threads, in
// runs of any length.
#include <algorithm>
#include <memory>
#include <numeric>

#include "check.hpp"
#include "paths.hpp"
#include "plain.hpp"
#include "stream.hpp"
#include "tests.hpp"

namespace bispik::test {
namespace {

constexpr std::int64_t kMembraneMax = (1 << 23) - 1;
constexpr std::int64_t kNarrow = std::int64_t{1} << 30;

std::size_t at(int index) { return static_cast<std::size_t>(index); }

struct Synapse {
    std::size_t source, neuron;
    std::int64_t weight;
};

// Synapses one by one, in the network's order of neurons.
struct PlainProjection {
    int source, delay, exponent;
    std::vector<Synapse> synapses;
};

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

// A network, and the same plainly.
struct RandomStream {
    StreamNetwork network;
    std::vector<std::vector<PlainProjection>> inputs;       // by population
    std::vector<StreamPopulation> plain;                    // constants in the network's order
    std::vector<std::unique_ptr<Exact<std::int8_t>>> kept;  // weights
    std::vector<std::vector<int>> maps;                     // by source: channels, height, width
    int low, high;

    RandomStream(Random& random, int largest) {
        const bool graded = random.chance(.4);
        low = graded ? random.one_of({0, -7, -70000}) : 0;
        high = graded ? random.one_of({2, 255, 90000}) : 1;
        maps.push_back(random_map(random, largest));
        network = {size_of(maps[0]), graded, {}};
        for (int count = random.number(1, 4); count > 0; --count) add_population(random, count == 1, largest);
        if (network.populations.size() > 1 && random.chance(.4)) {  // a loop, or a delayed way back
            const int target = random.number(1, static_cast<int>(network.populations.size()) - 1);
            const int source = random.number(target, static_cast<int>(network.populations.size()));
            add_dense(random, target, source, random.one_of({1, 2, 3, 9}));
        }
        plain = network.populations;
        for (std::size_t index = 0; index < plain.size(); ++index) {
            StreamPopulation& population = network.populations[index];
            population.wide = reached(index) >= kNarrow || random.chance(.1);
            population.arrange();
        }
    }

    static int size_of(const std::vector<int>& map) {
        return std::accumulate(map.begin(), map.end(), 1, std::multiplies<int>());
    }

    static std::vector<int> random_map(Random& random, int largest) {
        if (random.chance(.5)) return {random.number(1, largest), 1, 1};
        return {random.number(1, 5), random.number(1, 8), random.number(1, 8)};
    }

    void add_population(Random& random, bool last, int largest) {
        const int source = random.number(0, static_cast<int>(network.populations.size()));
        const int target = static_cast<int>(network.populations.size()) + 1;
        const int kind = random.number(0, 3), from = size_of(maps[at(source)]);
        Geometry geometry{};
        std::vector<int> map{kind == 1 ? from : random.number(1, largest), 1, 1};
        if (kind == 3) {
            geometry = random_geometry(random, maps[at(source)]);
            map = {geometry.target[0], geometry.target[1], geometry.target[2]};
        }
        maps.push_back(map);
        inputs.emplace_back();
        network.populations.push_back(random_neurons(random, size_of(map), last));
        const int delay = random.one_of({0, 0, 0, 1, 7, 70});
        if (kind == 0) add_dense(random, target, source, delay);
        if (kind == 1) add_paired(random, target, source, delay);
        if (kind == 2) add_sparse(random, target, source, delay);
        if (kind == 3) add_convolution(random, target, source, delay, geometry);
        if (random.chance(.3)) add_dense(random, target, random.number(0, target - 1), random.one_of({0, 2}));
        if (random.chance(.3)) add_sparse(random, target, random.number(0, target - 1), random.one_of({0, 2}));
        if (random.chance(.2)) add_paired(random, target, target, random.one_of({1, 4}));
    }

    static Geometry random_geometry(Random& random, const std::vector<int>& map) {
        Geometry geometry{};
        std::vector<int> groups;
        for (int count = 1; count <= std::min(map[0], 8); ++count) {
            if (map[0] % count == 0) groups.push_back(count);
        }
        geometry.groups = groups[at(random.number(0, static_cast<int>(groups.size()) - 1))];
        for (std::size_t i = 0; i < 3; ++i) geometry.source[i] = map[i];
        geometry.target[0] = geometry.groups * random.one_of({1, 2, 4, 9, 17, 33});
        for (std::size_t i = 0; i < 2; ++i) {
            geometry.kernel[i] = random.number(1, 4);
            geometry.stride[i] = random.number(1, 3);
            geometry.padding[i] = random.number(0, 3);
            geometry.dilation[i] = random.number(1, 3);
            geometry.target[i + 1] = random.number(1, map[i + 1] / geometry.stride[i] + 2);
        }
        return geometry;
    }

    static StreamPopulation random_neurons(Random& random, int size, bool last) {
        StreamPopulation made;
        const bool memory = random.chance(.5);
        const int scale = random.one_of({1, 40, 10000, 1 << 22, 1 << 28});
        for (int j = 0; j < size; ++j) {
            made.current_keep.push_back(memory ? random.one_of({0, 4096, random.number(0, 4096)}) : 0);
            made.keep.push_back(random.one_of({0, 4096, random.number(0, 4096)}));
            made.threshold.push_back(random.number(-scale / 4, scale));
            made.subtract.push_back(random.number(0, scale));
            made.bias.push_back(random.number(-scale / 8, scale / 8));
            made.initial.push_back(
                static_cast<int>(std::clamp<std::int64_t>(random.number(-scale, scale), -kMembraneMax, kMembraneMax)));
        }
        made.reset = static_cast<StreamReset>(random.number(0, 2));
        made.spiking = !(last && random.chance(.5));
        made.wide = false;
        return made;
    }

    Exact<std::int8_t>& random_weights(Random& random, std::size_t count) {
        kept.push_back(std::make_unique<Exact<std::int8_t>>(count, random.number(0, 63)));
        fill_weights(random, *kept.back());
        return *kept.back();
    }

    template <typename Wiring>
    void add(Random& random, int target, int source, int delay, Wiring wiring, std::vector<Synapse> synapses) {
        const int exponent = random.one_of({0, 0, 6, 6, 10, largest_sent(source) == kMembraneMax ? 6 : 30});
        const double fan_in = static_cast<double>(synapses.size()) / size_of(maps[at(target)]);
        network.populations[at(target) - 1].inputs.push_back({source, delay, exponent, fan_in, std::move(wiring)});
        inputs[at(target) - 1].push_back({source, delay, exponent, std::move(synapses)});
    }

    void add_dense(Random& random, int target, int source, int delay) {
        const std::size_t from = at(size_of(maps[at(source)])), size = at(size_of(maps[at(target)]));
        const auto& weights = random_weights(random, from * size);
        std::vector<Synapse> synapses;
        for (std::size_t i = 0; i < from * size; ++i) synapses.push_back({i / size, i % size, weights[i]});
        add(random, target, source, delay, DenseSynapses{weights.data()}, std::move(synapses));
    }

    void add_paired(Random& random, int target, int source, int delay) {
        const std::size_t size = at(size_of(maps[at(target)]));
        const auto& weights = random_weights(random, size);
        std::vector<Synapse> synapses;
        for (std::size_t j = 0; j < size; ++j) synapses.push_back({j, j, weights[j]});
        add(random, target, source, delay, PairedSynapses{weights.data()}, std::move(synapses));
    }

    void add_sparse(Random& random, int target, int source, int delay) {
        std::vector<std::int64_t> starts{0};
        std::vector<std::int32_t> sources;
        const int from = size_of(maps[at(source)]);
        for (int j = 0; j < size_of(maps[at(target)]); ++j) {
            for (int k = 0; k < from; ++k) {
                if (random.chance(.2)) sources.push_back(k);
            }
            starts.push_back(static_cast<std::int64_t>(sources.size()));
        }
        const auto& weights = random_weights(random, sources.size());
        std::vector<Synapse> synapses;
        for (std::size_t j = 0; j + 1 < starts.size(); ++j) {
            for (auto i = static_cast<std::size_t>(starts[j]); i < static_cast<std::size_t>(starts[j + 1]); ++i) {
                synapses.push_back({at(sources[i]), j, weights[i]});
            }
        }
        add(random, target, source, delay, ColumnSynapses(starts, sources, weights.data(), from), std::move(synapses));
    }

    void add_convolution(Random& random, int target, int source, int delay, const Geometry& geometry) {
        const int taken = geometry.source[0] / geometry.groups;
        const auto& weights =
            random_weights(random, at(geometry.target[0] * taken * geometry.kernel[0] * geometry.kernel[1]));
        add(random, target, source, delay, ConvolutionSynapses(geometry, weights.data()),
            synapses_of(geometry, weights));
    }

    std::int64_t largest_sent(int source) const {
        if (source == 0) return std::max(std::abs(low), std::abs(high));
        return network.populations[at(source) - 1].spiking ? 1 : kMembraneMax;
    }

    // Bound on what a population's synapses add up to in a step, and on its constants.
    std::int64_t reached(std::size_t index) const {
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
};

struct PlainStep {
    std::vector<Numbers> sent, membranes;  // by population
};

// All steps, one after the other, as bispik.compiler.stream.program has them.
std::vector<PlainStep> plain_steps(const RandomStream& made, const std::vector<Numbers>& values, Numbers& clipped) {
    struct State {
        Numbers current, membrane, spike;
    };
    std::vector<State> states;
    for (const StreamPopulation& population : made.plain) {
        const std::size_t size = at(population.size());
        states.push_back(
            {Numbers(size, 0), Numbers(population.initial.begin(), population.initial.end()), Numbers(size, 0)});
    }
    const auto decayed = [](std::int64_t value, std::int64_t keep) { return value * keep / 4096; };
    const auto inside = [](std::int64_t value) { return std::clamp(value, -kMembraneMax, kMembraneMax); };
    std::vector<PlainStep> steps;
    for (std::size_t t = 0; t < values.size(); ++t) {
        steps.push_back({std::vector<Numbers>(made.plain.size()), std::vector<Numbers>(made.plain.size())});
        for (std::size_t index = 0; index < made.plain.size(); ++index) {
            const StreamPopulation& population = made.plain[index];
            State& state = states[index];
            Numbers arriving(at(population.size()), 0);
            for (const PlainProjection& input : made.inputs[index]) {
                if (t < at(input.delay)) continue;
                const std::size_t from = t - at(input.delay);
                const Numbers& sent = input.source ? steps[from].sent[at(input.source) - 1] : values[from];
                for (const Synapse& synapse : input.synapses) {
                    arriving[synapse.neuron] +=
                        synapse.weight * sent[synapse.source] * (std::int64_t{1} << input.exponent);
                }
            }
            for (std::size_t j = 0; j < arriving.size(); ++j) {
                state.current[j] = inside(decayed(state.current[j], population.current_keep[j]) + arriving[j]);
                std::int64_t next =
                    decayed(state.membrane[j], population.keep[j]) + state.current[j] + population.bias[j];
                if (population.reset == StreamReset::soft) next -= population.subtract[j] * state.spike[j];
                clipped[index] += inside(next) != next;
                state.spike[j] = population.spiking && inside(next) > population.threshold[j];
                state.membrane[j] = population.reset == StreamReset::hard && state.spike[j] ? 0 : inside(next);
            }
            steps.back().sent[index] = population.spiking ? state.spike : state.membrane;
            steps.back().membranes[index] = state.membrane;
        }
    }
    return steps;
}

void expect_equal(const RandomStream& made, const std::vector<Numbers>& values, const std::vector<std::size_t>& ends,
                  const std::vector<PlainStep>& wanted, const Numbers& wanted_clipped, const Path& path, int threads) {
    const std::string where = path.name + ", " + std::to_string(threads) + " threads: ";
    const std::size_t count = made.plain.size(), input = at(made.network.input_size);
    StreamEngine engine(made.network, path.kernels(), threads);
    Numbers clipped(count, 0);
    std::size_t first = 0;
    for (const std::size_t end : ends) {
        Exact<std::int32_t> part((end - first) * input, 0);
        for (std::size_t i = 0; i < part.size(); ++i) {
            part[i] = static_cast<std::int32_t>(values[first + i / input][i % input]);
        }
        std::vector<Exact<std::int32_t>> sent, membranes;
        StreamRecord record{{}, {}, clipped.data()};
        for (const StreamPopulation& population : made.plain) {
            sent.emplace_back((end - first) * at(population.size()), 0);
            membranes.emplace_back((end - first) * at(population.size()), 0);
        }
        for (std::size_t index = 0; index < count; ++index) {
            record.sent.push_back(sent[index].data());
            record.membranes.push_back(index % 2 == first % 2 ? membranes[index].data() : nullptr);
        }
        engine.run(part.data(), static_cast<std::int64_t>(end - first), record, [] {});
        for (std::size_t index = 0; index < count; ++index) {
            const std::size_t size = at(made.plain[index].size());
            for (std::size_t t = first; t < end; ++t) {
                const std::string what = where + "step " + std::to_string(t) + ", population " + std::to_string(index);
                expect_same(sent[index].data() + (t - first) * size, wanted[t].sent[index].data(), size,
                            what + ", sent");
                if (!record.membranes[index]) continue;
                expect_same(membranes[index].data() + (t - first) * size, wanted[t].membranes[index].data(), size,
                            what + ", membranes");
            }
        }
        first = end;
    }
    expect_same(clipped.data(), wanted_clipped.data(), count, where + "clipped");
    expect(engine.position() == static_cast<std::int64_t>(values.size()), where + "position");
}

}  // namespace

void test_stream(Random& random) {
    const bool longer = random.chance(.3);
    const RandomStream made(random, longer ? 9 : random.one_of({20, 70, 300}));
    const int steps = longer ? random.one_of({63, 64, 65, 150}) : random.number(1, 12);
    std::vector<Numbers> values;
    std::vector<std::size_t> ends;
    const double rate = random.one_of({0, 5, 30, 100}) / 100.0;
    for (int t = 0; t < steps; ++t) {
        values.emplace_back();
        for (int k = 0; k < made.network.input_size; ++k) {
            values.back().push_back(random.chance(rate) ? random.one_of({made.low, made.high}) : 0);
        }
        if (t + 1 == steps || random.chance(.1)) ends.push_back(values.size());
    }
    Numbers clipped(made.plain.size(), 0);
    const std::vector<PlainStep> wanted = plain_steps(made, values, clipped);
    for (const Path& path : built_paths()) {
        for (int threads = 1; path.available && threads <= 3; ++threads) {
            expect_equal(made, values, ends, wanted, clipped, path, threads);
        }
    }
}

}  // namespace bispik::test
