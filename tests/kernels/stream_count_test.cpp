// What an engine counts of a random stream network, on slices that are cut anywhere, against a walk over every synapse.
#include <algorithm>
#include <set>

#include "check.hpp"
#include "paths.hpp"
#include "plain.hpp"
#include "random_stream.hpp"
#include "tests.hpp"

namespace bispik::test {
namespace {

constexpr std::size_t kSlices = 3, kClasses = 2;

std::size_t at(int index) { return static_cast<std::size_t>(index); }

// Slices of any sizes, also of none.
std::vector<std::size_t> random_cuts(Random& random, int size) {
    std::vector<std::size_t> cuts{0, at(random.number(0, size)), at(random.number(0, size)), at(size)};
    std::ranges::sort(cuts);
    return cuts;
}

std::size_t slice_of(const std::vector<std::size_t>& cuts, std::size_t neuron) {
    std::size_t slice = 0;
    while (neuron >= cuts[slice + 1]) ++slice;
    return slice;
}

std::int64_t cost_of(std::size_t id, std::size_t kind) { return static_cast<std::int64_t>(10 * id + kind); }

// Every source neuron is a class and a pool of its own, every neuron a unit; costs have few classes.
CountedProjection counted(Random& random, const PlainProjection& input, const std::vector<std::size_t>& cuts,
                          std::size_t sources) {
    CountedProjection made;
    made.source = input.source;
    made.delay = input.delay;
    made.everywhere = false;
    made.filled.assign(kSlices, 0);
    made.fan_out_rows.starts = made.unit_rows.starts = {0};
    for (std::size_t source = 0; source < sources; ++source) {
        made.classes.push_back(static_cast<std::int32_t>(source));
        std::vector<std::int32_t> synapses(kSlices, 0);
        for (const Synapse& synapse : input.synapses) {
            if (synapse.source != source) continue;
            ++synapses[slice_of(cuts, synapse.neuron)];
            made.units.push_back(static_cast<std::int32_t>(synapse.neuron));
        }
        for (std::size_t slice = 0; slice < kSlices; ++slice) {
            if (synapses[slice]) made.fan_outs.push_back({static_cast<std::int32_t>(slice), synapses[slice]});
        }
        made.fan_out_rows.starts.push_back(static_cast<std::int64_t>(made.fan_outs.size()));
        made.unit_rows.starts.push_back(static_cast<std::int64_t>(made.units.size()));
    }
    if (random.chance(.7)) made.mask(cuts.back());
    return made;
}

StreamCounting counting_of(Random& random, const RandomStream& made, std::vector<std::vector<std::size_t>>& cuts) {
    StreamCounting counting;
    for (int source = 0; source <= static_cast<int>(made.plain.size()); ++source) {
        CountedSource& added = counting.sources.emplace_back();
        for (int k = 0; k < made.network.size(source); ++k) added.classes.push_back(k % static_cast<int>(kClasses));
        for (std::size_t id = 0; id < kClasses; ++id) {
            added.costs.emplace_back();
            for (std::size_t kind = 0; kind < kCosts; ++kind) added.costs[id][kind] = cost_of(id, kind);
        }
    }
    for (std::size_t index = 0; index < made.plain.size(); ++index) {
        const std::vector<std::size_t>& cut = cuts.emplace_back(random_cuts(random, made.plain[index].size()));
        CountedPopulation& added = counting.populations.emplace_back();
        added.unit_count = cut.back();
        added.run_rows.starts = {0};
        for (std::size_t slice = 0; slice < kSlices; ++slice) {
            const auto first = static_cast<std::int32_t>(cut[slice]), stop = static_cast<std::int32_t>(cut[slice + 1]);
            added.neurons.push_back(stop - first);
            added.runs.push_back({first, stop, 1});
            added.run_rows.starts.push_back(static_cast<std::int64_t>(slice) + 1);
        }
        for (const PlainProjection& input : made.inputs[index]) {
            added.inputs.push_back(counted(random, input, cut, at(made.network.size(input.source))));
        }
    }
    return counting;
}

// Arrays that a run counts into.
struct Arrays {
    std::vector<Exact<std::int64_t>> synops, updated, costs, sent;
    StreamTally tally;

    Arrays(const StreamCounting& counting, std::size_t steps) {
        tally.steps = static_cast<std::int64_t>(steps);
        for (const CountedPopulation& population : counting.populations) {
            synops.emplace_back(population.inputs.size() * kSlices * steps, 0);
            updated.emplace_back(kSlices * steps, 0);
        }
        for (std::size_t source = 0; source < counting.sources.size(); ++source) {
            costs.emplace_back(kCosts * steps, 0);
            sent.emplace_back(kClasses, 0);
        }
        for (auto& array : synops) tally.synops.push_back(array.data());
        for (auto& array : updated) tally.updated.push_back(array.data());
        for (auto& array : costs) tally.costs.push_back(array.data());
        for (auto& array : sent) tally.sent.push_back(array.data());
    }
};

// Count the steps [first, end) of `sent`, by source and step, by walking.
void walk(const RandomStream& made, const std::vector<std::vector<std::size_t>>& cuts,
          const std::vector<std::vector<Numbers>>& sent, std::size_t first, std::size_t steps, Arrays& arrays) {
    for (std::size_t t = 0; t < steps; ++t) {
        for (std::size_t source = 0; source < sent.size(); ++source) {
            for (std::size_t k = 0; k < sent[source][first + t].size(); ++k) {
                if (sent[source][first + t][k] == 0) continue;
                ++arrays.sent[source][k % kClasses];
                for (std::size_t kind = 0; kind < kCosts; ++kind) {
                    arrays.costs[source][kind * steps + t] += cost_of(k % kClasses, kind);
                }
            }
        }
        for (std::size_t index = 0; index < made.plain.size(); ++index) {
            std::set<std::size_t> reached;
            for (std::size_t i = 0; i < made.inputs[index].size(); ++i) {
                const PlainProjection& input = made.inputs[index][i];
                if (first + t < at(input.delay)) continue;
                for (const Synapse& synapse : input.synapses) {
                    if (sent[at(input.source)][first + t - at(input.delay)][synapse.source] == 0) continue;
                    ++arrays.synops[index][(i * kSlices + slice_of(cuts[index], synapse.neuron)) * steps + t];
                    reached.insert(synapse.neuron);
                }
            }
            for (const std::size_t neuron : reached) {
                ++arrays.updated[index][slice_of(cuts[index], neuron) * steps + t];
            }
        }
    }
}

}  // namespace

void test_stream_counting(Random& random) {
    const RandomStream made(random, random.one_of({9, 70, 300}));
    const std::size_t steps = at(random.one_of({3, 12, 66})), count = made.plain.size();
    const double rate = random.one_of({0, 5, 100}) / 100.0;
    Exact<std::int32_t> values(steps * at(made.network.input_size), 0);
    for (std::size_t i = 0; i < values.size(); ++i) {
        values[i] = random.chance(rate) ? random.one_of({made.low, made.high}) : 0;
    }
    std::vector<std::vector<std::size_t>> cuts;
    const StreamCounting counting = counting_of(random, made, cuts);
    Numbers clipped(count, 0);
    // What is sent is known from another test; here it is recorded by an engine that does not count.
    std::vector<Exact<std::int32_t>> outputs;
    StreamRecord record{{}, std::vector<std::int32_t*>(count, nullptr), clipped.data()};
    for (const StreamPopulation& population : made.plain) outputs.emplace_back(steps * at(population.size()), 0);
    for (auto& output : outputs) record.sent.push_back(output.data());
    StreamEngine(made.network, built_paths()[0].kernels(), 1)
        .run(values.data(), static_cast<std::int64_t>(steps), record, [] {});
    std::vector<std::vector<Numbers>> sent(count + 1);
    for (std::size_t source = 0; source <= count; ++source) {
        const std::size_t size = at(made.network.size(static_cast<int>(source)));
        const std::int32_t* const from = source ? outputs[source - 1].data() : values.data();
        for (std::size_t t = 0; t < steps; ++t) sent[source].emplace_back(from + t * size, from + (t + 1) * size);
    }
    for (int threads = 1; threads <= 3; ++threads) {
        StreamEngine engine(made.network, built_paths()[0].kernels(), threads, &counting);
        const std::size_t split = at(random.number(1, static_cast<int>(steps)));
        for (std::size_t first = 0; first < steps; first = first ? steps : split) {
            const std::size_t part = first ? steps - first : split;
            Arrays found(counting, part), wanted(counting, part);
            walk(made, cuts, sent, first, part, wanted);
            StreamRecord counted{std::vector<std::int32_t*>(count, nullptr), std::vector<std::int32_t*>(count, nullptr),
                                 clipped.data(), found.tally};
            engine.run(values.data() + first * at(made.network.input_size), static_cast<std::int64_t>(part), counted,
                       [] {});
            const auto same = [](const auto& ours, const auto& theirs, const char* what) {
                for (std::size_t i = 0; i < ours.size(); ++i) {
                    expect_same(ours[i].data(), theirs[i].data(), ours[i].size(), what);
                }
            };
            same(found.synops, wanted.synops, "synops");
            same(found.updated, wanted.updated, "updated neurons");
            same(found.costs, wanted.costs, "costs");
            same(found.sent, wanted.sent, "classes");
        }
    }
}

}  // namespace bispik::test
