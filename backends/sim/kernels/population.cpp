#include <algorithm>
#include <atomic>

#include "engine.hpp"
#include "matrix.hpp"

namespace bispik {
namespace {

// What a thread keeps from task to task.
struct Workspace {
    std::vector<std::int32_t> narrow;
    std::vector<std::int64_t> wide;
};

thread_local Workspace workspace;

std::vector<MatrixInput> matrices_of(Block& block, const Node& node, const Kernels& kernels) {
    const bool spread = worth_a_spread(kernels, block.tokens(), block.network->steps);
    std::vector<MatrixInput> matrices;
    for (const Synapses& input : node.inputs) {
        if (input.wiring != Wiring::dense) continue;
        const Node& source = block.network->nodes[static_cast<std::size_t>(input.source)];
        matrices.push_back({input.weights, source.size, node.size, block.network->steps, input.exponent, source.form,
                            spread ? nullptr : &planes_of(block, input.source, kernels),
                            spread ? &spread_of(block, input.source) : nullptr});
    }
    return matrices;
}

// totals[token * steps + t][j] += (weight * output) << exponent of one-to-one synapses, for some neurons.
template <typename Number>
void add_one_to_one(const Block& block, const Synapses& input, int first, int width, Number* totals,
                    std::size_t stride) {
    const Node& source = block.network->nodes[static_cast<std::size_t>(input.source)];
    const Output& output = block.outputs[static_cast<std::size_t>(input.source)];
    const int steps = block.network->steps;
    using Unsigned = std::make_unsigned_t<Number>;
    for (int row = 0; row < block.tokens() * steps; ++row) {
        const int token = row / steps, step = row % steps;
        Number* to = totals + static_cast<std::size_t>(row) * stride;
        const auto add = [&](int j, std::int32_t value) {
            const Number weight = input.wiring == Wiring::weighted ? input.weights[first + j] : 1;
            to[j] = static_cast<Number>(static_cast<Unsigned>(to[j]) +
                                        (static_cast<Unsigned>(weight * static_cast<Number>(value)) << input.exponent));
        };
        if (source.form.graded) {
            const std::int32_t* values =
                output.graded.data() + static_cast<std::size_t>(row) * static_cast<std::size_t>(source.size) + first;
            for (int j = 0; j < width; ++j) add(j, values[j]);
        } else {
            const std::size_t at = static_cast<std::size_t>(token) * static_cast<std::size_t>(source.size) +
                                   static_cast<std::size_t>(first);
            const std::uint8_t* plus = output.plus.data() + at;
            const std::uint8_t* minus = source.form.negative ? output.minus.data() + at : nullptr;
            for (int j = 0; j < width; ++j) {
                add(j, ((plus[j] >> step) & 1) - (minus ? (minus[j] >> step) & 1 : 0));
            }
        }
    }
}

template <typename Number>
void sum_currents(const Block& block, const Node& node, const std::vector<MatrixInput>& matrices,
                  const Kernels& kernels, int first, int width, std::vector<Number>& totals, std::size_t stride) {
    const std::size_t rows = static_cast<std::size_t>(block.tokens() * block.network->steps);
    totals.assign(rows * stride, 0);
    for (const MatrixInput& matrix : matrices) {
        add_matrix(matrix, kernels, block.tokens(), first, width, totals.data(), stride);
    }
    for (const Synapses& input : node.inputs) {
        if (input.wiring != Wiring::dense) add_one_to_one(block, input, first, width, totals.data(), stride);
    }
}

}  // namespace

void run_population(Block& block, int index, const Kernels& kernels, Pool& pool, Membranes membranes) {
    const Node& node = block.network->nodes[static_cast<std::size_t>(index)];
    Output& output = block.outputs[static_cast<std::size_t>(index)];
    const int steps = block.network->steps, tokens = block.tokens();
    const std::size_t size = static_cast<std::size_t>(node.size);
    output.plus.resize(static_cast<std::size_t>(tokens) * size);
    output.minus.resize(node.form.negative ? static_cast<std::size_t>(tokens) * size : 0);
    const std::vector<MatrixInput> matrices = matrices_of(block, node, kernels);
    int strip = matrices.empty() ? node.size : 1 << 30;
    for (const MatrixInput& matrix : matrices) strip = std::min(strip, strip_of(matrix, tokens, pool.threads()));
    std::atomic<std::int64_t> clipped{0};
    pool.run((node.size + strip - 1) / strip, [&](int task) {
        const int first = task * strip, width = std::min(strip, node.size - first);
        const std::size_t stride = static_cast<std::size_t>(width);
        const Neurons neurons = node.neurons.at(static_cast<std::size_t>(first), node.small);
        if (node.wide) {
            sum_currents(block, node, matrices, kernels, first, width, workspace.wide, stride);
        } else {
            sum_currents(block, node, matrices, kernels, first, width, workspace.narrow, stride);
        }
        std::int64_t found = 0;
        for (int token = 0; token < tokens; ++token) {
            const std::size_t row = static_cast<std::size_t>(token * steps);
            std::uint8_t* plus = output.plus.data() + static_cast<std::size_t>(token) * size + first;
            std::uint8_t* minus =
                node.form.negative ? output.minus.data() + static_cast<std::size_t>(token) * size + first : nullptr;
            std::int32_t* kept = membranes.data ? membranes.data + row * size + first : nullptr;
            found += node.wide ? run_wide_neurons(neurons, steps, width, workspace.wide.data() + row * stride, stride,
                                                  plus, minus, kept, size)
                               : kernels.run_neurons(neurons, {steps, width, workspace.narrow.data() + row * stride,
                                                               stride, plus, minus, kept, size});
        }
        clipped += found;
    });
    block.clipped[static_cast<std::size_t>(index)] += clipped;
}

void run_readout(Block& block, int index, const Kernels& kernels, Pool& pool, std::int64_t* accumulators,
                 std::int32_t* sums) {
    const Node& node = block.network->nodes[static_cast<std::size_t>(index)];
    const Synapses& input = node.inputs[0];
    const Node& source = block.network->nodes[static_cast<std::size_t>(input.source)];
    const int tokens = block.tokens();
    for (int token = 0; sums && token < tokens; ++token) {
        const std::vector<std::int32_t> row = sums_over_steps(block, input.source, token);
        std::copy(row.begin(), row.end(), sums + static_cast<std::size_t>(token) * row.size());
    }
    if (!accumulators) return;
    const OutputForm form = summed_form(*block.network, input.source);
    const bool at_once = worth_a_spread(kernels, tokens, 1);
    const Spread spread = at_once ? summed_spread(block, input.source) : Spread{};
    const std::vector<Plane> planes = at_once ? std::vector<Plane>{} : summed_planes(block, input.source);
    const MatrixInput matrix{
        input.weights, source.size, node.size, 1, 0, form, at_once ? nullptr : &planes, at_once ? &spread : nullptr};
    const int strip = strip_of(matrix, tokens, pool.threads());
    const std::size_t size = static_cast<std::size_t>(node.size);
    pool.run((node.size + strip - 1) / strip, [&](int task) {
        const int first = task * strip, width = std::min(strip, node.size - first);
        for (int token = 0; token < tokens; ++token) {
            std::fill_n(accumulators + static_cast<std::size_t>(token) * size + first, width, 0);
        }
        add_matrix(matrix, kernels, tokens, first, width, accumulators + first, size);
    });
}

}  // namespace bispik
