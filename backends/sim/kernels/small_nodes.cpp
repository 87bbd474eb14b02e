// The nodes whose work is small beside a matrix: the host's input, joins and norms.
#include <algorithm>
#include <cmath>

#include "engine.hpp"

namespace bispik {
namespace {

std::int32_t* begin_graded(Block& block, int index) {
    const Node& node = block.network->nodes[static_cast<std::size_t>(index)];
    Output& output = block.outputs[static_cast<std::size_t>(index)];
    output.graded.resize(static_cast<std::size_t>(block.tokens() * block.network->steps) *
                         static_cast<std::size_t>(node.size));
    return output.graded.data();
}

// The smallest whole number whose square is at least `value`, which is below 2^62.
std::int64_t root_rounded_up(std::int64_t value) {
    auto root = static_cast<std::int64_t>(std::sqrt(static_cast<double>(value)));  // off by one at most
    while (root * root >= value && root > 0) --root;
    while (root * root < value) ++root;
    return root;
}

}  // namespace

void normalise(const Node& node, const std::int32_t* values, std::int32_t* out) {
    const std::int64_t size = node.size;
    std::int64_t total = 0, squares = 0;
    for (int j = 0; j < node.size; ++j) {
        total += values[j];
        squares += static_cast<std::int64_t>(values[j]) * values[j];
    }
    const std::int64_t root = root_rounded_up((size * squares - total * total + node.epsilon) << (2 * node.root_bits));
    const int shift = node.fraction_bits + node.root_bits + 1;
    for (int j = 0; j < node.size; ++j) {
        const std::int64_t deviation = size * values[j] - total;
        const std::int64_t magnitude = deviation < 0 ? -deviation : deviation;
        const std::int64_t rounded = root ? ((magnitude << shift) + root) / (2 * root) : 0;
        out[j] = static_cast<std::int32_t>(deviation < 0 ? -rounded : rounded);
    }
}

void run_injection(Block& block, int index) {
    const Node& node = block.network->nodes[static_cast<std::size_t>(index)];
    std::int32_t* out = begin_graded(block, index);
    const std::size_t size = static_cast<std::size_t>(node.size);
    for (const Place& place : block.places) {
        const std::int16_t* token = node.tokens + static_cast<std::size_t>(place.token) * size;
        const std::int16_t* position = node.positions + static_cast<std::size_t>(place.position) * size;
        for (const std::int32_t gain : node.gains) {
            for (std::size_t j = 0; j < size; ++j) *out++ = (token[j] + position[j]) * gain;
        }
    }
}

void run_join(Block& block, int index) {
    const Node& node = block.network->nodes[static_cast<std::size_t>(index)];
    std::int32_t* out = begin_graded(block, index);
    const int steps = block.network->steps;
    for (int token = 0; token < block.tokens(); ++token) {
        for (int t = 0; t < steps; ++t) {
            std::fill_n(out, node.size, 0);
            for (const Synapses& input : node.inputs) add_outputs(block, input.source, token, t, input.exponent, out);
            out += node.size;
        }
    }
}

void run_norm(Block& block, int index) {
    const Node& node = block.network->nodes[static_cast<std::size_t>(index)];
    std::int32_t* out = begin_graded(block, index);
    const std::size_t size = static_cast<std::size_t>(node.size);
    std::vector<std::int32_t> values(size);
    const int source = node.inputs[0].source;
    for (int token = 0; token < block.tokens(); ++token) {
        for (int t = 0; t < block.network->steps; ++t) {
            std::fill(values.begin(), values.end(), 0);
            add_outputs(block, source, token, t, 0, values.data());
            normalise(node, values.data(), out);
            out += size;
        }
    }
}

}  // namespace bispik
