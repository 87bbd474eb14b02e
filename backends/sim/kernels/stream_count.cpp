#include "stream_count.hpp"

#include <algorithm>

namespace bispik {
namespace {

constexpr std::size_t kSharedEvents = 1 << 14;  // in a block: worth counting on several threads
constexpr int kStepsOfTask = 8;

std::size_t at(std::int32_t index) { return static_cast<std::size_t>(index); }

// Units reached in a step, and events of pools of one projection; both are empty between uses.
struct Marks {
    std::vector<std::uint8_t> units;
    std::vector<std::int32_t> events;
    std::vector<std::int32_t> busy;
};

void add_pool(const CountedProjection& input, std::size_t pool, std::int64_t events, std::int64_t* synops) {
    for (std::size_t k = input.slice_rows.begin(pool); k < input.slice_rows.end(pool); ++k) {
        synops[input.slices[k]] += events * input.fan_outs[k];
    }
}

void mark_pool(const CountedProjection& input, std::size_t pool, std::uint8_t* units) {
    for (std::size_t k = input.unit_rows.begin(pool); k < input.unit_rows.end(pool); ++k) units[input.units[k]] = 1;
}

// Add the synops of what arrives in a step, and mark what it reaches unless everything is reached anyway.
void arrive(const CountedProjection& input, const Sent& sent, bool mark, std::int64_t* synops, Marks& marks) {
    if (input.everywhere) {
        add_pool(input, 0, static_cast<std::int64_t>(sent.sources.size()), synops);
        return;
    }
    if (input.pools.empty()) {
        for (const std::int32_t source : sent.sources) {
            add_pool(input, at(source), 1, synops);
            if (mark) mark_pool(input, at(source), marks.units.data());
        }
        return;
    }
    marks.events.resize(std::max(marks.events.size(), input.pool_count), 0);
    marks.busy.clear();
    for (const std::int32_t source : sent.sources) {
        const std::int32_t pool = input.pools[at(source)];
        if (marks.events[at(pool)]++ == 0) marks.busy.push_back(pool);
    }
    for (const std::int32_t pool : marks.busy) {
        add_pool(input, at(pool), marks.events[at(pool)], synops);
        marks.events[at(pool)] = 0;
        if (mark) mark_pool(input, at(pool), marks.units.data());
    }
}

// How many neurons of a slice are among the marked units.
std::int64_t marked(const CountedPopulation& population, std::size_t slice, const std::uint8_t* units) {
    const std::size_t begin = population.slice_rows.begin(slice), end = population.slice_rows.end(slice);
    std::uint32_t count = 0;  // of at most 2^31 neurons
    if (population.in_order) {
        for (std::size_t k = begin; k < end; ++k) count += units[k];
    } else {
        for (std::size_t k = begin; k < end; ++k) {
            count += units[population.units[k]] * static_cast<std::uint32_t>(population.unit_neurons[k]);
        }
    }
    return count;
}

}  // namespace

void StreamCounting::count(Pool& pool, const Look& look, std::int64_t position, int steps, StreamTally& tally) const {
    const int sources = static_cast<int>(populations.size()) + 1;
    std::size_t events = 0;
    for (int source = 0; source < sources; ++source) {
        for (int row = 0; row < steps; ++row) events += look(source, position + row).sources.size();
    }
    const int pieces = (steps + kStepsOfTask - 1) / kStepsOfTask;
    const auto run = [&](int task) {
        if (task < sources) {
            count_sent(task, look, position, steps, tally);
            return;
        }
        const std::size_t index = at((task - sources) / pieces);
        const int first = (task - sources) % pieces * kStepsOfTask;
        for (int row = first; row < std::min(steps, first + kStepsOfTask); ++row) {
            count_reached(index, look, position + row, tally.done + row, tally);
        }
    };
    const int tasks = sources + static_cast<int>(populations.size()) * pieces;
    if (events >= kSharedEvents) {
        pool.run(tasks, run);
    } else {
        for (int task = 0; task < tasks; ++task) run(task);
    }
    tally.done += steps;
}

// Count what a source sends, and what the spikes of a population cost on their way.
void StreamCounting::count_sent(int source, const Look& look, std::int64_t position, int steps,
                                const StreamTally& tally) const {
    std::int64_t* const by_neuron = tally.sent[at(source)];
    const CountedPopulation* const population = source ? &populations[at(source) - 1] : nullptr;
    for (int row = 0; row < steps; ++row) {
        const Sent& sent = look(source, position + row);
        for (const std::int32_t neuron : sent.sources) ++by_neuron[neuron];
        if (!population || population->cost_ids.empty()) continue;
        Costs total{};
        for (const std::int32_t neuron : sent.sources) {
            const Costs& each = population->costs[at(population->cost_ids[at(neuron)])];
            for (std::size_t kind = 0; kind < kCosts; ++kind) total[kind] += each[kind];
        }
        std::ranges::copy(total, tally.costs[at(source) - 1] + (tally.done + row) * std::ptrdiff_t{kCosts});
    }
}

// Count what arrives at a population in a step, which the run's row holds.
void StreamCounting::count_reached(std::size_t index, const Look& look, std::int64_t step, std::int64_t row,
                                   const StreamTally& tally) const {
    thread_local Marks marks;
    const CountedPopulation& population = populations[index];
    const std::size_t slices = population.neurons.size();
    bool any = false, all = false;
    for (const CountedProjection& input : population.inputs) {
        if (step < input.delay || look(input.source, step - input.delay).sources.empty()) continue;
        any = true;
        all = all || input.everywhere;
    }
    if (!any) return;  // the arrays hold 0
    const auto from = static_cast<std::size_t>(row) * slices, whole = static_cast<std::size_t>(tally.steps) * slices;
    std::int64_t* const updated = tally.updated[index] + from;
    if (!all) {
        marks.units.resize(std::max(marks.units.size(), population.unit_count));
        std::fill_n(marks.units.data(), population.unit_count, std::uint8_t{0});
    }
    for (std::size_t i = 0; i < population.inputs.size(); ++i) {
        const CountedProjection& input = population.inputs[i];
        if (step < input.delay) continue;
        arrive(input, look(input.source, step - input.delay), !all, tally.synops[index] + i * whole + from, marks);
    }
    for (std::size_t slice = 0; slice < slices; ++slice) {
        bool full = all;
        for (std::size_t i = 0; !full && i < population.inputs.size(); ++i) {
            full = population.inputs[i].filled[slice] && tally.synops[index][i * whole + from + slice] > 0;
        }
        updated[slice] = full ? population.neurons[slice] : marked(population, slice, marks.units.data());
    }
}

}  // namespace bispik
