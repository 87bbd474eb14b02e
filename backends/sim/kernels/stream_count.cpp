#include "stream_count.hpp"

#include <algorithm>
#include <bit>
#include <cstring>

namespace bispik {
namespace {

constexpr std::size_t kSharedEvents = 1 << 14;  // in a block: worth counting on several threads
constexpr int kStepsOfTask = 8;

std::size_t at(std::int32_t index) { return static_cast<std::size_t>(index); }

// Memory of a thread.
struct Scratch {
    std::vector<std::int32_t> classes;  // 0 between uses
    std::vector<std::uint8_t> pools;    // 0 between uses
    std::vector<std::uint8_t> units;    // of one step: set where one is reached
    std::vector<std::uint64_t> bits;    // the same of projections with masks
};

Scratch& scratch() {
    thread_local Scratch mine;
    return mine;
}

// Call add(class, events) for events by class: once for each class if there are fewer classes than events.
template <typename Add>
void by_class(const std::vector<std::int32_t>& classes, std::size_t count, const StreamSent& sent, Scratch& memory,
              const Add& add) {
    const std::size_t events = sent.sources.size();
    if (events == 0) return;
    if (count == 1) {
        add(0, static_cast<std::int64_t>(events));
        return;
    }
    if (count >= events) {
        for (const std::int32_t source : sent.sources) add(at(classes[at(source)]), 1);
        return;
    }
    // Events beside each other are often of one class: what they add to is not the same number.
    constexpr std::size_t kBeside = 4;
    memory.classes.resize(std::max(memory.classes.size(), kBeside * count), 0);
    std::int32_t* const counts = memory.classes.data();
    const std::int32_t* const of = classes.data();
    for (std::size_t i = 0; i < events; ++i) ++counts[kBeside * at(of[sent.sources[i]]) + i % kBeside];
    for (std::size_t id = 0; id < count; ++id) {
        std::int32_t* const four = counts + kBeside * id;
        if (const std::int32_t all = four[0] + four[1] + four[2] + four[3]) add(id, all);
        std::fill_n(four, kBeside, 0);
    }
}

// Call mark(pool) for every pool that something comes from.
template <typename Mark>
void by_pool(const CountedProjection& input, const StreamSent& sent, Scratch& memory, const Mark& mark) {
    if (input.pools.empty()) {
        for (const std::int32_t source : sent.sources) mark(at(source));
        return;
    }
    const std::size_t count = input.unit_rows.starts.size() - 1;
    memory.pools.resize(std::max(memory.pools.size(), count), 0);
    std::uint8_t* const pools = memory.pools.data();
    const std::int32_t* const of = input.pools.data();
    for (const std::int32_t source : sent.sources) pools[of[source]] = 1;
    for (std::size_t pool = 0; pool < count; ++pool) {
        if (pools[pool]) mark(pool);
    }
    std::fill_n(pools, count, std::uint8_t{0});
}

// Set the units that events reach. Bytes may be anything's: what the loops read is at hand before they write.
void mark_reached(const CountedProjection& input, const StreamSent& sent, Scratch& memory) {
    if (input.masks.empty()) {
        const std::int64_t* const starts = input.unit_rows.starts.data();
        const std::int32_t* const reached = input.units.data();
        std::uint8_t* const units = memory.units.data();
        by_pool(input, sent, memory, [=](std::size_t pool) {
            for (std::int64_t k = starts[pool], end = starts[pool + 1]; k < end; ++k) units[reached[k]] = 1;
        });
    } else {
        const std::size_t words = memory.bits.size();
        const std::uint64_t* const masks = input.masks.data();
        std::uint64_t* const bits = memory.bits.data();
        by_pool(input, sent, memory, [=](std::size_t pool) {
            for (std::size_t k = 0; k < words; ++k) bits[k] |= masks[pool * words + k];
        });
    }
}

// Set the units whose bits are set.
void spread(const std::vector<std::uint64_t>& bits, std::vector<std::uint8_t>& units) {
    static_assert(std::endian::native == std::endian::little);
    constexpr std::uint64_t kAll = 0x0101010101010101, kOne = 0x8040201008040201, kBelow = 0x7f7f7f7f7f7f7f7f;
    for (std::size_t i = 0; i < 8 * bits.size(); ++i) {
        const std::uint64_t one_each = ((bits[i / 8] >> (i % 8 * 8) & 0xff) * kAll) & kOne;  // bit j of byte j
        std::uint64_t word;
        std::memcpy(&word, units.data() + 8 * i, sizeof word);
        word |= ((one_each + kBelow) >> 7) & kAll;
        std::memcpy(units.data() + 8 * i, &word, sizeof word);
    }
}

// How many of some units are set.
std::int64_t set_of(const std::uint8_t* units, std::size_t count) {
    constexpr std::size_t kWord = sizeof(std::uint64_t), kMost = 255;  // what fits the bytes of a word
    constexpr std::uint64_t kEven = 0x00ff00ff00ff00ff, kFirst = 0x0001000100010001;
    std::uint64_t all = 0;
    std::size_t i = 0;
    while (count - i >= kWord) {
        std::uint64_t sums = 0;
        for (std::size_t end = i + kWord * std::min(kMost, (count - i) / kWord); i < end; i += kWord) {
            std::uint64_t word;
            std::memcpy(&word, units + i, kWord);
            sums += word;
        }
        all += (((sums & kEven) + ((sums >> 8) & kEven)) * kFirst) >> 48;
    }
    for (; i < count; ++i) all += units[i];
    return static_cast<std::int64_t>(all);
}

}  // namespace

void CountedProjection::mask(std::size_t unit_count) {
    const std::size_t pool_count = unit_rows.starts.size() - 1, words = words_of(unit_count);
    if (everywhere || 2 * pool_count * words > units.size()) return;
    masks.assign(pool_count * words, 0);
    for (std::size_t pool = 0; pool < pool_count; ++pool) {
        for (std::size_t k = unit_rows.begin(pool); k < unit_rows.end(pool); ++k) {
            masks[pool * words + at(units[k]) / 64] |= std::uint64_t{1} << at(units[k]) % 64;
        }
    }
}

void StreamCounting::count(Pool& pool, const Look& look, std::int64_t position, int steps, StreamTally& tally) const {
    const int count = static_cast<int>(sources.size());
    std::size_t events = 0;
    for (int source = 0; source < count; ++source) {
        for (int row = 0; row < steps; ++row) events += look(source, position + row).sources.size();
    }
    const int pieces = (steps + kStepsOfTask - 1) / kStepsOfTask;
    const auto run = [&](int task) {
        if (task < count) {
            count_sent(task, look, position, steps, tally);
            return;
        }
        const std::size_t index = at((task - count) / pieces);
        const int first = (task - count) % pieces * kStepsOfTask;
        for (int row = first; row < std::min(steps, first + kStepsOfTask); ++row) {
            count_reached(index, look, position + row, tally.done + row, tally);
        }
    };
    const int tasks = count + static_cast<int>(populations.size()) * pieces;
    if (events >= kSharedEvents) {
        pool.run(tasks, run);
    } else {
        for (int task = 0; task < tasks; ++task) run(task);
    }
    tally.done += steps;
}

// Count what a source sends, and what that costs.
void StreamCounting::count_sent(int source, const Look& look, std::int64_t position, int steps,
                                const StreamTally& tally) const {
    const CountedSource& counted = sources[at(source)];
    if (counted.classes.empty()) return;
    Scratch& memory = scratch();
    std::int64_t* const by_id = tally.sent[at(source)];
    for (int row = 0; row < steps; ++row) {
        Costs total{};
        by_class(counted.classes, counted.costs.size(), look(source, position + row), memory,
                 [&](std::size_t id, std::int64_t events) {
                     by_id[id] += events;
                     const Costs& each = counted.costs[id];
                     for (std::size_t kind = 0; kind < kCosts; ++kind) total[kind] += events * each[kind];
                 });
        std::int64_t* const costs = tally.costs[at(source)] + tally.done + row;
        for (std::size_t kind = 0; kind < kCosts; ++kind)
            costs[static_cast<std::int64_t>(kind) * tally.steps] = total[kind];
    }
}

// Count what arrives at a population in a step, which the run's row holds.
void StreamCounting::count_reached(std::size_t index, const Look& look, std::int64_t step, std::int64_t row,
                                   const StreamTally& tally) const {
    const CountedPopulation& population = populations[index];
    const std::size_t slices = population.neurons.size();
    const auto steps = static_cast<std::size_t>(tally.steps);
    Scratch& memory = scratch();
    std::int64_t* const all_synops = tally.synops[index] + row;
    bool any = false, all = false;
    for (std::size_t i = 0; i < population.inputs.size(); ++i) {
        const CountedProjection& input = population.inputs[i];
        if (step < input.delay) continue;
        const StreamSent& sent = look(input.source, step - input.delay);
        if (sent.sources.empty()) continue;
        any = true;
        all = all || input.everywhere;
        std::int64_t* const synops = all_synops + i * slices * steps;
        by_class(input.classes, input.fan_out_rows.starts.size() - 1, sent, memory,
                 [&](std::size_t id, std::int64_t events) {
                     for (std::size_t k = input.fan_out_rows.begin(id); k < input.fan_out_rows.end(id); ++k) {
                         synops[at(input.fan_outs[k].slice) * steps] += events * input.fan_outs[k].synapses;
                     }
                 });
    }
    if (!any) return;  // the arrays hold 0
    if (!all) {
        const bool masked =
            std::ranges::any_of(population.inputs, [](const CountedProjection& input) { return !input.masks.empty(); });
        const std::size_t words = words_of(population.unit_count);
        memory.bits.assign(words, 0);
        memory.units.resize(std::max(memory.units.size(), 64 * words));
        std::fill_n(memory.units.data(), 64 * words, std::uint8_t{0});
        for (const CountedProjection& input : population.inputs) {
            if (step >= input.delay) mark_reached(input, look(input.source, step - input.delay), memory);
        }
        if (masked) spread(memory.bits, memory.units);
    }
    std::int64_t* const updated = tally.updated[index] + row;
    for (std::size_t slice = 0; slice < slices; ++slice) {
        bool full = all;
        for (std::size_t i = 0; !full && i < population.inputs.size(); ++i) {
            full = population.inputs[i].filled[slice] && all_synops[(i * slices + slice) * steps] > 0;
        }
        std::int64_t count = full ? population.neurons[slice] : 0;
        for (std::size_t k = population.run_rows.begin(slice); !full && k < population.run_rows.end(slice); ++k) {
            const UnitRun& run = population.runs[k];
            count += run.neurons * set_of(memory.units.data() + run.first, at(run.stop - run.first));
        }
        updated[slice * steps] = count;
    }
}

}  // namespace bispik
