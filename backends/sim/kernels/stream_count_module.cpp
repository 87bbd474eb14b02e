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

// Rows that every class has one of.
std::vector<std::int32_t> classes_of(const Array<std::int32_t, 1>& classes, std::size_t count) {
    expect_below(classes, count);
    return taken(classes);
}

void add_source(StreamCounting& counting, const Array<std::int32_t, 1>& classes, const Array<std::int64_t, 2>& costs) {
    CountedSource made{classes_of(classes, costs.shape(0)), {}};
    expect(costs.shape(1) == kCosts, "costs of eight kinds");
    for (std::size_t id = 0; id < costs.shape(0); ++id) {
        std::copy_n(costs.data() + id * kCosts, kCosts, made.costs.emplace_back().begin());
    }
    counting.sources.push_back(std::move(made));
}

void add_population(StreamCounting& counting, const Numbers& neurons, std::size_t unit_count, const Numbers& run_starts,
                    const Array<std::int32_t, 2>& runs) {
    CountedPopulation made;
    made.neurons = taken(neurons);
    made.unit_count = unit_count;
    made.run_rows = rows_of(run_starts, made.neurons.size(), runs.shape(0));
    expect(runs.shape(1) == 3, "a run is its first unit, its end and how many neurons of each");
    for (std::size_t k = 0; k < runs.shape(0); ++k) {
        const std::int32_t* const run = runs.data() + 3 * k;
        expect(0 <= run[0] && run[0] <= run[1] && static_cast<std::size_t>(run[1]) <= unit_count,
               "units that are not there");
        made.runs.push_back({run[0], run[1], run[2]});
    }
    counting.populations.push_back(std::move(made));
}

void add_projection(StreamCounting& counting, int source, int delay, bool everywhere,
                    const Array<std::int32_t, 1>& classes, const Numbers& fan_out_starts,
                    const Array<std::int32_t, 2>& fan_outs, const Array<std::int32_t, 1>& pools,
                    const Numbers& unit_starts, const Array<std::int32_t, 1>& units,
                    const Array<std::uint8_t, 1>& filled) {
    expect(!counting.populations.empty(), "a population that is not there");
    CountedPopulation& population = counting.populations.back();
    expect(delay >= 0, "a delay below 0");
    expect(fan_out_starts.shape(0) >= 1 && unit_starts.shape(0) >= 1, "rows without a start");
    const std::size_t class_count = fan_out_starts.shape(0) - 1, pool_count = unit_starts.shape(0) - 1;
    CountedProjection made;
    made.source = source;
    made.delay = delay;
    made.classes = classes_of(classes, class_count);
    made.fan_out_rows = rows_of(fan_out_starts, class_count, fan_outs.shape(0));
    expect(fan_outs.shape(1) == 2, "a fan-out is a slice and how many synapses");
    for (std::size_t k = 0; k < fan_outs.shape(0); ++k) {
        const FanOut entry{fan_outs.data()[2 * k], fan_outs.data()[2 * k + 1]};
        expect(0 <= entry.slice && static_cast<std::size_t>(entry.slice) < population.neurons.size(),
               "a slice that is not there");
        made.fan_outs.push_back(entry);
    }
    made.everywhere = everywhere;
    expect_below(pools, pool_count);
    made.pools = taken(pools);
    made.unit_rows = rows_of(unit_starts, pool_count, units.shape(0));
    expect_below(units, population.unit_count);
    made.units = taken(units);
    expect(everywhere || (pools.shape(0) ? pools.shape(0) : pool_count) == classes.shape(0), "pools of another source");
    expect(filled.shape(0) == population.neurons.size(), "one mark per slice");
    made.filled = taken(filled);
    made.mask(population.unit_count);
    population.inputs.push_back(std::move(made));
}

}  // namespace

void expect_counted(const StreamNetwork& network, const StreamCounting& counting) {
    expect(counting.populations.size() == network.populations.size() &&
               counting.sources.size() == network.populations.size() + 1,
           "one count per population, and of sources one more");
    const auto of_size = [&](const std::vector<std::int32_t>& classes, int source) {
        return classes.size() == static_cast<std::size_t>(network.size(source));
    };
    for (std::size_t index = 0; index < counting.sources.size(); ++index) {
        const std::vector<std::int32_t>& classes = counting.sources[index].classes;
        expect(classes.empty() || of_size(classes, static_cast<int>(index)), "costs of another source");
    }
    for (std::size_t index = 0; index < counting.populations.size(); ++index) {
        const CountedPopulation& counted = counting.populations[index];
        const StreamPopulation& population = network.populations[index];
        expect(counted.inputs.size() == population.inputs.size(), "one count per projection");
        for (std::size_t i = 0; i < counted.inputs.size(); ++i) {
            const CountedProjection& input = counted.inputs[i];
            expect(input.source == population.inputs[i].source && input.delay == population.inputs[i].delay &&
                       of_size(input.classes, input.source),
                   "another projection");
        }
    }
}

StreamTally TallyArrays::checked(const StreamNetwork& network, const StreamCounting& counting,
                                 std::size_t steps) const {
    const std::size_t count = network.populations.size();
    expect(synops.size() == count && updated.size() == count && costs.size() == count + 1 && sent.size() == count + 1,
           "one array per population, and of sources one more");
    StreamTally tally;
    tally.steps = static_cast<std::int64_t>(steps);
    for (std::size_t index = 0; index < count; ++index) {
        const CountedPopulation& counted = counting.populations[index];
        const std::size_t slices = counted.neurons.size();
        expect(synops[index].shape(0) == counted.inputs.size() && synops[index].shape(1) == slices &&
                   synops[index].shape(2) == steps && updated[index].shape(0) == slices &&
                   updated[index].shape(1) == steps,
               "a tally of another shape");
        tally.synops.push_back(synops[index].data());
        tally.updated.push_back(updated[index].data());
    }
    for (std::size_t source = 0; source <= count; ++source) {
        expect(costs[source].shape(0) == kCosts && costs[source].shape(1) == steps &&
                   sent[source].shape(0) == counting.sources[source].costs.size(),
               "a tally of another shape");
        tally.costs.push_back(costs[source].data());
        tally.sent.push_back(sent[source].data());
    }
    return tally;
}

void bind_stream_counts(nb::module_& m) {
    nb::class_<StreamCounting>(m, "StreamCounting")
        .def(nb::init<>())
        .def("source", &add_source, nb::kw_only(), nb::arg("classes").noconvert(), nb::arg("costs").noconvert())
        .def("population", &add_population, nb::kw_only(), nb::arg("neurons").noconvert(), nb::arg("unit_count"),
             nb::arg("run_starts").noconvert(), nb::arg("runs").noconvert())
        .def("projection", &add_projection, nb::kw_only(), nb::arg("source"), nb::arg("delay"), nb::arg("everywhere"),
             nb::arg("classes").noconvert(), nb::arg("fan_out_starts").noconvert(), nb::arg("fan_outs").noconvert(),
             nb::arg("pools").noconvert(), nb::arg("unit_starts").noconvert(), nb::arg("units").noconvert(),
             nb::arg("filled").noconvert());
    nb::class_<TallyArrays>(m, "StreamTally")
        .def(
            "__init__",
            [](TallyArrays* self, std::vector<Target<std::int64_t, 3>> synops,
               std::vector<Target<std::int64_t, 2>> updated, std::vector<Target<std::int64_t, 2>> costs,
               std::vector<Target<std::int64_t, 1>> sent) {
                new (self) TallyArrays{std::move(synops), std::move(updated), std::move(costs), std::move(sent)};
            },
            nb::kw_only(), nb::arg("synops").noconvert(), nb::arg("updated").noconvert(), nb::arg("costs").noconvert(),
            nb::arg("sent").noconvert());
}

}  // namespace bispik
