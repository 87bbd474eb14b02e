// What the synapses of a stream population add up to.
#include <algorithm>
#include <type_traits>

#include "stream.hpp"

namespace bispik {
namespace {

std::size_t at(int index) { return static_cast<std::size_t>(index); }

Events events_of(const std::vector<std::int32_t>& sources, const std::vector<std::int32_t>& values, int exponent) {
    return {sources.data(), values.empty() ? nullptr : values.data(), static_cast<int>(sources.size()), exponent};
}

// sums[n - first] += what events cause at neuron n, for first <= n < first + width.
template <typename Sum>
class Adder {
 public:
    Adder(const StreamPopulation& population, const Kernels& kernels, int first, int width)
        : population_(population), kernels_(kernels), first_(first), width_(width) {}

    void add(const StreamSynapses& input, const Events& events, Sum* sums) const {
        std::visit([&](const auto& wiring) { add_to(wiring, events, sums); }, input.wiring);
    }

 private:
    static constexpr bool kNarrow = std::is_same_v<Sum, std::uint32_t>;

    void add_to(const DenseSynapses& dense, const Events& events, Sum* sums) const {
        const std::size_t stride = at(population_.size());
        if constexpr (kNarrow) {
            kernels_.add_events(dense.weights + first_, stride, events, width_, sums);
        } else {
            add_events_wide(dense.weights + first_, stride, events, width_, sums);
        }
    }

    void add_to(const ConvolutionSynapses& convolution, const Events& events, Sum* sums) const {
        if constexpr (kNarrow) {
            kernels_.add_map(convolution.map(), events, first_, width_, sums);
        } else {
            add_map_wide(convolution.map(), events, first_, width_, sums);
        }
    }

    void add_to(const PairedSynapses& paired, const Events& events, Sum* sums) const {
        for (int i = 0; i < events.count; ++i) {
            const std::int32_t source = events.sources[i];
            const std::int32_t neuron = population_.place.empty() ? source : population_.place[at(source)];
            add_one(neuron, paired.weights[source], scale(events, i), sums);
        }
    }

    void add_to(const ColumnSynapses& columns, const Events& events, Sum* sums) const {
        for (int i = 0; i < events.count; ++i) {
            const Sum by = scale(events, i);
            const auto source = at(events.sources[i]);
            for (auto k = static_cast<std::size_t>(columns.starts[source]);
                 k < static_cast<std::size_t>(columns.starts[source + 1]); ++k) {
                add_one(columns.targets[k], columns.weights[k], by, sums);
            }
        }
    }

    static Sum scale(const Events& events, int index) {
        return static_cast<Sum>(events.values ? events.values[index] : 1) << events.shift;
    }

    void add_one(std::int32_t neuron, std::int8_t weight, Sum by, Sum* sums) const {
        const std::int32_t target = neuron - first_;
        if (0 <= target && target < width_) sums[target] += static_cast<Sum>(weight) * by;
    }

    const StreamPopulation& population_;
    const Kernels& kernels_;
    int first_, width_;
};

}  // namespace

// Sum the currents of a strip of neurons; the first call of a block begins at 0.
void StreamEngine::add_inputs(int index, Which which, Rows rows, int first, int width) {
    const StreamPopulation& population = network_.populations[at(index)];
    const std::size_t size = at(population.size()), offset = states_[at(index)].offset + at(first);
    const auto add_all = [&](auto* sums) {
        using Sum = std::remove_pointer_t<decltype(sums)>;
        const Adder<Sum> adder(population, kernels_, first, width);
        for (int row = rows.first; which != Which::inside && row < rows.stop; ++row) {
            std::fill_n(sums + at(row) * size, width, Sum{0});
        }
        for (const StreamSynapses& input : population.inputs) {
            const bool inside = component_of_[at(input.source)] == component_of_[at(index) + 1];
            if (which != Which::all && inside != (which == Which::inside)) continue;
            for (int row = rows.first; row < rows.stop; ++row) {
                const std::int64_t step = position_ + row - input.delay;
                if (step < 0) continue;
                const StreamSent& sent = sent_at(input.source, step);
                if (sent.sources.empty()) continue;
                adder.add(input, events_of(sent.sources, sent.values, input.exponent), sums + at(row) * size);
            }
        }
    };
    if (population.wide) {
        add_all(wide_.data() + offset);
    } else {
        add_all(narrow_.data() + offset);
    }
}

}  // namespace bispik
