// Stream networks with random everything against plain loops over the definition: every table, one to three threads, in
// runs of any length.
#include <algorithm>

#include "check.hpp"
#include "paths.hpp"
#include "plain.hpp"
#include "random_stream.hpp"
#include "tests.hpp"

namespace bispik::test {
namespace {

constexpr std::int64_t kMembraneMax = (1 << 23) - 1;

std::size_t at(int index) { return static_cast<std::size_t>(index); }

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
        states.push_back({Numbers(population.initial_current.begin(), population.initial_current.end()),
                          Numbers(population.initial.begin(), population.initial.end()), Numbers(size, 0)});
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

void test_collect(Random& random, const Kernels& kernels) {
    const int size = random.number(0, 200), rate = random.one_of({0, 10, 100});
    Exact<std::int32_t> values(at(size), random.number(0, 15));
    Numbers wanted;
    for (int j = 0; j < size; ++j) {
        values[at(j)] = random.number(1, 100) <= rate ? random.one_of({1, -1, 1 << 30}) : 0;
        if (values[at(j)]) wanted.push_back(j);
    }
    Exact<std::int32_t> places(at(size) + kPlacesBehind, random.number(0, 15));
    const std::size_t count = at(kernels.collect(values.data(), size, places.data()));
    expect(count == wanted.size(), "collect: another number of places");
    expect_same(places.data(), wanted.data(), count, "collect");
}

// Any weights, also more of them than 16 bits hold, whose memory ends with the last row.
void test_add_events(Random& random, const Kernels& kernels) {
    const int depth = random.one_of({1, 5, 252, 700, random.number(1, 700)});
    const int width = random.one_of({1, 31, 64, 1024, 1025, random.number(1, 2100)});
    const std::size_t stride = at(width + random.number(0, 70));
    Exact<std::int8_t> weights(at(depth - 1) * stride + at(width), random.number(0, 63));
    fill_weights(random, weights);
    const double rate = random.one_of({0, 5, 30, 100}) / 100.0;
    const bool graded = random.chance(.5);
    const int shift = random.one_of({0, 6, 12});
    std::vector<std::int32_t> sources, values;
    for (int k = 0; k < depth; ++k) {
        if (!random.chance(rate)) continue;
        sources.push_back(k);
        if (graded) values.push_back(random.one_of({1, -1, 255, -3}));
    }
    Exact<std::uint32_t> sums(at(width), random.number(0, 15));
    std::vector<std::uint32_t> wanted(at(width));
    for (std::size_t j = 0; j < wanted.size(); ++j) {
        sums[j] = static_cast<std::uint32_t>(random.word());
        std::int64_t sum = 0;
        for (std::size_t i = 0; i < sources.size(); ++i) {
            sum += std::int64_t{weights[at(sources[i]) * stride + j]} * (graded ? values[i] : 1) * (1 << shift);
        }
        wanted[j] = sums[j] + static_cast<std::uint32_t>(sum);
    }
    kernels.add_events(weights.data(), stride,
                       {sources.data(), graded ? values.data() : nullptr, static_cast<int>(sources.size()), shift},
                       width, sums.data());
    expect_same(sums.data(), wanted.data(), wanted.size(), "add_events");
}

}  // namespace

void test_stream_kernels(Random& random, const Kernels& kernels) {
    test_collect(random, kernels);
    test_add_events(random, kernels);
}

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
