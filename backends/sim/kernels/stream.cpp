#include "stream.hpp"

#include <algorithm>
#include <atomic>

namespace bispik {
namespace {

// Sums of a population in a block that stay in the second-level cache, and how many steps a block has at least and at
// most.
constexpr int kSumsOfBlock = 1 << 17, kLeastSteps = 8, kMostSteps = 64;
// Work that is worth another task: additions of weights, of which a neuron's own update counts as some.
constexpr double kTaskWork = 1 << 17, kNeuronWork = 32, kFiring = 0.1;
constexpr double kMatrixBytes = 1 << 19;  // of a strip's weights that stay in the second-level cache over a block
constexpr int kLeastWidth = 128;
constexpr std::int64_t kSharedValues = 1 << 15;  // outputs that are worth listing on several threads

std::size_t at(int index) { return static_cast<std::size_t>(index); }

// Whether a population's neurons run in strips whose sums are small, however many there are.
bool in_strips(const StreamPopulation& population) {
    return std::ranges::all_of(population.inputs, [](const StreamSynapses& input) {
        return std::holds_alternative<DenseSynapses>(input.wiring);
    });
}

}  // namespace

StreamEngine::StreamEngine(const StreamNetwork& network, const Kernels& kernels, int threads,
                           const StreamCounting* counting)
    : network_(network),
      kernels_(kernels),
      counting_(counting),
      pool_(threads),
      components_(network.components()),
      component_of_(network.populations.size() + 1, -1),
      past_(network.populations.size() + 1),
      states_(network.populations.size()) {
    int largest = 1;
    for (const StreamPopulation& population : network.populations) {
        if (!in_strips(population)) largest = std::max(largest, population.size());
    }
    block_steps_ = std::clamp(kSumsOfBlock / largest, kLeastSteps, kMostSteps);
    for (std::size_t component = 0; component < components_.size(); ++component) {
        std::size_t narrow = 0, wide = 0, outputs = 0, membranes = 0;
        for (const int index : components_[component].populations) {
            const StreamPopulation& population = network.populations[at(index)];
            const std::size_t values = at(population.size()) * at(block_steps_);
            component_of_[at(index) + 1] = static_cast<int>(component);
            states_[at(index)] = {population.initial_current, population.initial,
                                  std::vector<std::int32_t>(at(population.size()), 0), 0};
            // All begin at the same place in every buffer, of which each holds what is needed up to the last.
            states_[at(index)].offset = std::max({narrow, wide, outputs});
            const std::size_t end = states_[at(index)].offset + values;
            (population.wide ? wide : narrow) = end;
            if (!population.order.empty()) membranes = end;
            if (!population.order.empty() || counting_) outputs = end;
        }
        narrow_.resize(std::max(narrow_.size(), narrow));
        wide_.resize(std::max(wide_.size(), wide));
        outputs_.resize(std::max(outputs_.size(), outputs));
        membranes_.resize(std::max(membranes_.size(), membranes));
    }
    for (const StreamPopulation& population : network.populations) {
        for (const StreamSynapses& input : population.inputs) {
            std::vector<StreamSent>& ring = past_[at(input.source)];
            ring.resize(std::max(ring.size(), at(block_steps_) + at(input.delay)));
        }
    }
    for (std::vector<StreamSent>& ring : past_) {
        if (counting_) ring.resize(std::max(ring.size(), at(block_steps_)));
    }
}

void StreamEngine::run(const std::int32_t* values, std::int64_t steps, const StreamRecord& record,
                       const std::function<void()>& between) {
    block_ = record;
    for (std::int64_t first = 0; first < steps; first += block_steps_) {
        if (first) between();
        const int count = static_cast<int>(std::min<std::int64_t>(block_steps_, steps - first));
        run_block(values + first * network_.input_size, count);
        if (counting_) {
            const auto look = [this](int source, std::int64_t step) -> const StreamSent& {
                return sent_at(source, step);
            };
            counting_->count(pool_, look, position_, count, block_.tally);
        }
        position_ += count;
        for (std::size_t index = 0; index < network_.populations.size(); ++index) {
            const std::ptrdiff_t written = std::ptrdiff_t{count} * network_.populations[index].size();
            if (block_.sent[index]) block_.sent[index] += written;
            if (block_.membranes[index]) block_.membranes[index] += written;
        }
    }
}

void StreamEngine::run_block(const std::int32_t* values, int steps) {
    if (!past_[0].empty()) {
        for_rows(steps, network_.input_size, [&](int row) {
            list(values + std::ptrdiff_t{row} * network_.input_size, network_.input_size, {}, network_.graded,
                 sent_at(0, position_ + row));
        });
    }
    for (const Component& component : components_) {
        if (component.loop) {
            run_loop(component, steps);
        } else {
            run_layer(component.populations[0], steps);
        }
    }
}

void StreamEngine::run_layer(int index, int steps) {
    std::atomic<std::int64_t> clipped{0};
    share(index, steps, [&](int first, int width) {
        add_inputs(index, Which::all, {0, steps}, first, width);
        clipped += run_neurons(index, {0, steps}, first, width);
    });
    block_.clipped[index] += clipped;
    for_rows(steps, network_.populations[at(index)].size(), [&](int row) { publish(index, row); });
}

void StreamEngine::run_loop(const Component& component, int steps) {
    for (const int index : component.populations) {
        share(index, steps, [&](int first, int width) { add_inputs(index, Which::outside, {0, steps}, first, width); });
    }
    for (int row = 0; row < steps; ++row) {
        for (const int index : component.populations) {
            std::atomic<std::int64_t> clipped{0};
            share(index, 1, [&](int first, int width) {
                add_inputs(index, Which::inside, {row, row + 1}, first, width);
                clipped += run_neurons(index, {row, row + 1}, first, width);
            });
            block_.clipped[index] += clipped;
            publish(index, row);
        }
    }
}

// Call strip(first, width) for strips of a population's neurons, on as many threads as are worth it.
void StreamEngine::share(int index, int steps, const std::function<void(int, int)>& strip) {
    const StreamPopulation& population = network_.populations[at(index)];
    double each = kNeuronWork, column = 0;  // work and bytes of a neuron
    for (const StreamSynapses& input : population.inputs) {
        each += kFiring * input.fan_in;
        if (std::holds_alternative<DenseSynapses>(input.wiring)) column += input.fan_in;
    }
    const double worthwhile = each * steps * population.size() / kTaskWork;
    // Every strip looks at all events, which is much of a convolution's work and little of a matrix's.
    const int threads = pool_.threads(), most = threads == 1 || !in_strips(population) ? threads : 2 * threads;
    const int tasks = static_cast<int>(std::clamp<double>(worthwhile, 1, most));
    int width = (population.size() + tasks - 1) / tasks;
    if (steps > 1 && column * width > 2 * kMatrixBytes) {
        width = std::max(kLeastWidth, static_cast<int>(kMatrixBytes / column) / kLeastWidth * kLeastWidth);
    }
    pool_.run((population.size() + width - 1) / width, [&](int task) {
        const int first = task * width;
        strip(first, std::min(width, population.size() - first));
    });
}

std::int64_t StreamEngine::run_neurons(int index, Rows rows, int first, int width) {
    const StreamPopulation& population = network_.populations[at(index)];
    State& state = states_[at(index)];
    const std::size_t size = at(population.size());
    const std::size_t within = at(rows.first) * size + at(first), offset = state.offset + within;
    const bool ordered = !population.order.empty();
    std::int32_t* sent = buffered(index) ? outputs_.data() + offset : block_.sent[at(index)] + within;
    std::int32_t* membranes = !block_.membranes[at(index)] ? nullptr
                              : ordered                    ? membranes_.data() + offset
                                                           : block_.membranes[at(index)] + within;
    StreamNeurons neurons = population.neurons(at(first));
    neurons.current = state.current.data() + first;
    neurons.membrane = state.membrane.data() + first;
    neurons.spike = state.spike.data() + first;
    if (population.wide) {
        return run_stream_wide(neurons, rows.count(), width, wide_.data() + offset, size, sent, membranes, size);
    }
    return kernels_.run_stream(neurons, {rows.count(), width, narrow_.data() + offset, size, sent, membranes, size});
}

// Whether a population's outputs of a block are not where they are recorded.
bool StreamEngine::buffered(int index) const {
    return !network_.populations[at(index)].order.empty() || !block_.sent[at(index)];
}

// List what a population sent in a step, and put it into the network's order.
void StreamEngine::publish(int index, int row) {
    const StreamPopulation& population = network_.populations[at(index)];
    const std::size_t begin = at(row) * at(population.size());
    const bool taken = !past_[at(index) + 1].empty(), reordered = !population.order.empty() && block_.sent[at(index)];
    StreamSent unused;
    StreamSent& sent = taken ? sent_at(index + 1, position_ + row) : unused;
    const std::int32_t* const out =
        buffered(index) ? outputs_.data() + states_[at(index)].offset + begin : block_.sent[at(index)] + begin;
    if (taken || reordered) list(out, population.size(), population.order, !population.spiking, sent);
    if (!population.order.empty()) write(index, row, sent);
}

// Record a step of a population with an order of its own.
void StreamEngine::write(int index, int row, const StreamSent& sent) {
    const StreamPopulation& population = network_.populations[at(index)];
    const std::size_t size = at(population.size()), begin = at(row) * size;
    if (std::int32_t* out = block_.sent[at(index)]) {
        out += begin;
        std::fill_n(out, size, 0);
        for (std::size_t i = 0; i < sent.sources.size(); ++i) {
            out[sent.sources[i]] = sent.values.empty() ? 1 : sent.values[i];
        }
    }
    if (std::int32_t* const membranes = block_.membranes[at(index)]) {
        const std::int32_t* const from = membranes_.data() + states_[at(index)].offset + begin;
        for (std::size_t i = 0; i < size; ++i) membranes[begin + at(population.order[i])] = from[i];
    }
}

// What is not 0 among the values of neurons in an order of their own (empty: the network's), with its value if graded.
void StreamEngine::list(const std::int32_t* values, int size, const std::vector<std::int32_t>& order, bool graded,
                        StreamSent& sent) {
    thread_local std::vector<std::int32_t> places;
    places.resize(std::max(places.size(), at(size) + kPlacesBehind));
    const std::size_t count = at(kernels_.collect(values, size, places.data()));
    sent.sources.resize(count);
    sent.values.resize(graded ? count : 0);
    for (std::size_t i = 0; graded && i < count; ++i) sent.values[i] = values[places[i]];
    for (std::size_t i = 0; i < count; ++i) sent.sources[i] = order.empty() ? places[i] : order[at(places[i])];
}

void StreamEngine::for_rows(int steps, int size, const std::function<void(int)>& row) {
    if (std::int64_t{steps} * size >= kSharedValues) {
        pool_.run(steps, row);
    } else {
        for (int i = 0; i < steps; ++i) row(i);
    }
}

StreamSent& StreamEngine::sent_at(int source, std::int64_t step) {
    std::vector<StreamSent>& ring = past_[at(source)];
    return ring[static_cast<std::size_t>(step % static_cast<std::int64_t>(ring.size()))];
}

}  // namespace bispik
