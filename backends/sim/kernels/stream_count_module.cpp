// What Python sees of counting in stream networks; everything is copied but the arrays that counts are written to.
#include "stream_count_module.hpp"

#include <nanobind/stl/vector.h>

#include <algorithm>
#include <utility>

namespace bispik {
namespace {

using Numbers = Array<std::int64_t, 1>;

template <typename Value>
std::vector<Value> taken(const Array<Value, 1>& array) {
    return {array.data(), array.data() + array.shape(0)};
}

// Starts of `rows` rows of `entries` entries; rows come one after the other.
RowStarts rows_of(const Numbers& starts, std::size_t rows, std::size_t entries) {
    expect(starts.shape(0) == rows + 1 && starts.data()[0] == 0 &&
               starts.data()[rows] == static_cast<std::int64_t>(entries) &&
               std::is_sorted(starts.data(), starts.data() + rows + 1),
           "rows that do not hold every entry once");
    return {taken(starts)};
}

void expect_below(const Array<std::int32_t, 1>& indices, std::size_t count) {
    for (std::size_t i = 0; i < indices.shape(0); ++i) {
        expect(0 <= indices.data()[i] && static_cast<std::size_t>(indices.data()[i]) < count,
               "an index of something that is not there");
    }
}

void add_population(StreamCounting& counting, const Numbers& neurons, std::size_t unit_count, const Numbers& unit_starts,
                    const Array<std::int32_t, 1>& units, const Array<std::int32_t, 1>& unit_neurons,
                    const Array<std::int32_t, 1>& cost_ids, const Array<std::int64_t, 2>& costs) {
    CountedPopulation made;
    made.neurons = taken(neurons);
    made.unit_count = unit_count;
    made.slice_rows = rows_of(unit_starts, made.neurons.size(), units.shape(0));
    expect(units.shape(0) == unit_neurons.shape(0), "one number of neurons per unit of a slice");
    expect_below(units, unit_count);
    made.units = taken(units);
    made.unit_neurons = taken(unit_neurons);
    made.in_order = made.units.size() == unit_count;
    for (std::size_t k = 0; k < made.units.size(); ++k) {
        made.in_order = made.in_order && static_cast<std::size_t>(made.units[k]) == k && made.unit_neurons[k] == 1;
    }
    expect_below(cost_ids, costs.shape(0));
    made.cost_ids = taken(cost_ids);
    expect(costs.shape(1) == kCosts, "costs of eight kinds");
    for (std::size_t id = 0; id < costs.shape(0); ++id) {
        std::copy_n(costs.data() + id * kCosts, kCosts, made.costs.emplace_back().begin());
    }
    counting.populations.push_back(std::move(made));
}

void add_projection(StreamCounting& counting, int source, int delay, bool everywhere, std::size_t pool_count,
                    const Array<std::int32_t, 1>& pools, const Numbers& slice_starts,
                    const Array<std::int32_t, 1>& slices, const Numbers& fan_outs, const Numbers& unit_starts,
                    const Array<std::int32_t, 1>& units, const Array<std::uint8_t, 1>& filled) {
    expect(!counting.populations.empty(), "a population that is not there");
    CountedPopulation& population = counting.populations.back();
    CountedProjection made;
    expect(delay >= 0, "a delay below 0");
    made.source = source;
    made.delay = delay;
    made.everywhere = everywhere;
    expect(!everywhere || pool_count == 1, "several pools that reach every neuron");
    made.pool_count = pool_count;
    expect_below(pools, pool_count);
    made.pools = taken(pools);
    made.slice_rows = rows_of(slice_starts, pool_count, slices.shape(0));
    expect(slices.shape(0) == fan_outs.shape(0), "one fan-out per slice of a pool");
    expect_below(slices, population.neurons.size());
    made.slices = taken(slices);
    made.fan_outs = taken(fan_outs);
    made.unit_rows = rows_of(unit_starts, pool_count, units.shape(0));
    expect_below(units, population.unit_count);
    made.units = taken(units);
    expect(filled.shape(0) == population.neurons.size(), "one mark per slice");
    made.filled = taken(filled);
    population.inputs.push_back(std::move(made));
}

}  // namespace

void expect_counted(const StreamNetwork& network, const StreamCounting& counting) {
    expect(counting.populations.size() == network.populations.size(), "one count per population");
    for (std::size_t index = 0; index < counting.populations.size(); ++index) {
        const CountedPopulation& counted = counting.populations[index];
        const StreamPopulation& population = network.populations[index];
        expect(counted.cost_ids.size() == (population.spiking ? static_cast<std::size_t>(population.size()) : 0),
               "costs of another population");
        expect(counted.inputs.size() == population.inputs.size(), "one count per projection");
        for (std::size_t i = 0; i < counted.inputs.size(); ++i) {
            const CountedProjection& input = counted.inputs[i];
            expect(input.source == population.inputs[i].source && input.delay == population.inputs[i].delay,
                   "another projection");
            const auto size = static_cast<std::size_t>(network.size(input.source));
            expect(input.everywhere || (input.pools.empty() ? input.pool_count : input.pools.size()) == size,
                   "pools of another source");
        }
    }
}

StreamTally TallyArrays::checked(const StreamNetwork& network, const StreamCounting& counting,
                                 std::size_t steps) const {
    const std::size_t count = network.populations.size();
    expect(synops.size() == count && updated.size() == count && costs.size() == count && sent.size() == count + 1,
           "one array per population");
    StreamTally tally;
    tally.steps = static_cast<std::int64_t>(steps);
    for (std::size_t index = 0; index < count; ++index) {
        const CountedPopulation& counted = counting.populations[index];
        const std::size_t slices = counted.neurons.size();
        expect(synops[index].shape(0) == counted.inputs.size() && synops[index].shape(1) == steps &&
                   synops[index].shape(2) == slices && updated[index].shape(0) == steps &&
                   updated[index].shape(1) == slices && costs[index].shape(0) == steps &&
                   costs[index].shape(1) == kCosts,
               "a tally of another shape");
        tally.synops.push_back(synops[index].data());
        tally.updated.push_back(updated[index].data());
        tally.costs.push_back(costs[index].data());
    }
    for (std::size_t source = 0; source <= count; ++source) {
        expect(sent[source].shape(0) == static_cast<std::size_t>(network.size(static_cast<int>(source))),
               "a tally of another shape");
        tally.sent.push_back(sent[source].data());
    }
    return tally;
}

void bind_stream_counts(nb::module_& m) {
    nb::class_<StreamCounting>(m, "StreamCounting")
        .def(nb::init<>())
        .def("population", &add_population, nb::kw_only(), nb::arg("neurons").noconvert(), nb::arg("unit_count"),
             nb::arg("unit_starts").noconvert(), nb::arg("units").noconvert(), nb::arg("unit_neurons").noconvert(),
             nb::arg("cost_ids").noconvert(), nb::arg("costs").noconvert())
        .def("projection", &add_projection, nb::kw_only(), nb::arg("source"), nb::arg("delay"), nb::arg("everywhere"),
             nb::arg("pool_count"), nb::arg("pools").noconvert(), nb::arg("slice_starts").noconvert(),
             nb::arg("slices").noconvert(), nb::arg("fan_outs").noconvert(), nb::arg("unit_starts").noconvert(),
             nb::arg("units").noconvert(), nb::arg("filled").noconvert());
    nb::class_<TallyArrays>(m, "StreamTally")
        .def(
            "__init__",
            [](TallyArrays* self, std::vector<Target<std::int64_t, 3>> synops,
               std::vector<Target<std::int64_t, 2>> updated, std::vector<Target<std::int64_t, 2>> costs,
               std::vector<Target<std::int64_t, 1>> sent) {
                new (self) TallyArrays{std::move(synops), std::move(updated), std::move(costs), std::move(sent)};
            },
            nb::kw_only(), nb::arg("synops").noconvert(), nb::arg("updated").noconvert(),
            nb::arg("costs").noconvert(), nb::arg("sent").noconvert());
}

}  // namespace bispik
