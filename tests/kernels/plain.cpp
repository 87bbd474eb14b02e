#include "plain.hpp"

namespace bispik::test {
namespace {

constexpr std::int64_t kMembraneMax = (1 << 23) - 1;

std::size_t at(int index) { return static_cast<std::size_t>(index); }

// The smallest number whose square is at least `value`, by bisection.
std::int64_t root_rounded_up(std::int64_t value) {
    std::int64_t low = 0, high = std::int64_t{1} << 31;
    while (low < high) {
        const std::int64_t middle = (low + high) / 2;
        if (middle * middle >= value) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

Numbers normalised(const Node& node, const Numbers& values) {
    const std::int64_t size = node.size;
    std::int64_t total = 0, squares = 0;
    for (const std::int64_t value : values) {
        total += value;
        squares += value * value;
    }
    const std::int64_t variance = size * squares - total * total + node.epsilon;
    const std::int64_t root = root_rounded_up(variance * (std::int64_t{1} << (2 * node.root_bits)));
    Numbers out;
    for (const std::int64_t value : values) {
        const std::int64_t deviation = size * value - total;
        const std::int64_t scaled =
            (deviation < 0 ? -deviation : deviation) * (std::int64_t{1} << (node.fraction_bits + node.root_bits));
        const std::int64_t rounded = root ? (2 * scaled + root) / (2 * root) : 0;
        out.push_back(deviation < 0 ? -rounded : rounded);
    }
    return out;
}

}  // namespace

bool PlainNeuron::step(const Neurons& neurons, std::size_t index, std::int64_t current) {
    const std::int64_t magnitude = membrane < 0 ? -membrane : membrane;
    const std::int64_t kept = magnitude * neurons.keep / 4096;
    std::int64_t next = (membrane < 0 ? -kept : kept) + current + neurons.bias[index];
    if (!neurons.hard) next -= neurons.subtract[index] * spike;
    const std::int64_t inside = next > kMembraneMax ? kMembraneMax : next < -kMembraneMax ? -kMembraneMax : next;
    spike = 0;
    if (inside > neurons.threshold[index]) spike = 1;
    if (neurons.ternary && inside < -std::int64_t{neurons.threshold[index]}) spike = -1;
    membrane = neurons.hard && spike != 0 ? 0 : inside;
    return inside != next;
}

Numbers PlainSequence::current(const PlainToken& token, const Node& node, std::size_t step) const {
    Numbers sums(at(node.size), 0);
    for (const Synapses& input : node.inputs) {
        const Numbers& sent = token.outputs[at(input.source)][step];
        const std::int64_t unit = std::int64_t{1} << input.exponent;
        for (std::size_t j = 0; j < sums.size(); ++j) {
            if (input.wiring == Wiring::direct) sums[j] += sent[j] * unit;
            if (input.wiring == Wiring::weighted) sums[j] += input.weights[j] * sent[j] * unit;
            if (input.wiring != Wiring::dense) continue;
            for (std::size_t k = 0; k < sent.size(); ++k) {
                sums[j] += input.weights[k * sums.size() + j] * sent[k] * unit;
            }
        }
    }
    return sums;
}

void PlainSequence::run_neurons(PlainToken& token, std::size_t index) {
    const Node& node = network_.nodes[index];
    const Neurons neurons = node.neurons.at(0, node.small);
    std::vector<PlainNeuron> state(at(node.size));
    for (std::size_t t = 0; t < at(network_.steps); ++t) {
        const Numbers sums = current(token, node, t);
        Numbers spikes, kept;
        for (std::size_t j = 0; j < sums.size(); ++j) {
            clipped[index] += state[j].step(neurons, j, sums[j]);
            spikes.push_back(state[j].spike);
            kept.push_back(state[j].membrane);
        }
        token.outputs[index].push_back(spikes);
        token.membranes[index].push_back(kept);
    }
}

// The token itself is among the stored ones: its keys and values are in `token`, those of others in `tokens`.
void PlainSequence::attend(PlainToken& token, std::size_t index) {
    const Node& node = network_.nodes[index];
    const std::size_t stored = tokens.size() + 1, depth = at(node.head_dim), steps = at(network_.steps);
    const auto sent = [&](std::size_t j, int input, std::size_t t) -> const Numbers& {
        return (j < tokens.size() ? tokens[j] : token).outputs[at(node.inputs[at(input)].source)][t];
    };
    auto& scores = token.scores[static_cast<int>(index)];
    scores.assign(steps, std::vector<Numbers>(at(node.heads), Numbers(stored, 0)));
    token.outputs[index].assign(steps, Numbers(at(node.size), 0));
    for (std::size_t head = 0; head < at(node.heads); ++head) {
        const Neurons neurons = node.neurons.at(head, node.small);
        for (std::size_t j = 0; j < stored; ++j) {
            PlainNeuron neuron;
            for (std::size_t t = 0; t < steps; ++t) {
                std::int64_t score = 0;
                for (std::size_t d = head * depth; d < (head + 1) * depth; ++d) {
                    score += sent(tokens.size(), 0, t)[d] * sent(j, 1, t)[d];
                }
                clipped[index] += neuron.step(neurons, 0, score * (std::int64_t{1} << node.exponent));
                scores[t][head][j] = neuron.spike;
                for (std::size_t d = head * depth; d < (head + 1) * depth; ++d) {
                    token.outputs[index][t][d] += neuron.spike * sent(j, 2, t)[d];
                }
            }
        }
    }
}

void PlainSequence::read_out(PlainToken& token, const Node& node) const {
    const Synapses& input = node.inputs[0];
    token.readout_sums.assign(at(network_.nodes[at(input.source)].size), 0);
    for (const Numbers& sent : token.outputs[at(input.source)]) {
        for (std::size_t k = 0; k < sent.size(); ++k) token.readout_sums[k] += sent[k];
    }
    token.accumulators.assign(at(node.size), 0);
    for (std::size_t k = 0; k < token.readout_sums.size(); ++k) {
        for (std::size_t j = 0; j < token.accumulators.size(); ++j) {
            token.accumulators[j] += input.weights[k * token.accumulators.size() + j] * token.readout_sums[k];
        }
    }
}

const PlainToken& PlainSequence::run(std::int64_t id, const std::vector<std::vector<Numbers>>& given) {
    PlainToken token;
    token.outputs.resize(network_.nodes.size());
    token.membranes.resize(network_.nodes.size());
    for (std::size_t index = 0; index < network_.nodes.size(); ++index) {
        const Node& node = network_.nodes[index];
        std::vector<Numbers>& out = token.outputs[index];
        if (node.kind == Kind::given) out = given[index];
        if (node.kind == Kind::population) run_neurons(token, index);
        if (node.kind == Kind::attention) attend(token, index);
        if (node.kind == Kind::readout) read_out(token, node);
        for (std::size_t t = 0; t < at(network_.steps); ++t) {
            if (node.kind == Kind::join) out.push_back(current(token, node, t));
            if (node.kind == Kind::norm) out.push_back(normalised(node, token.outputs[at(node.inputs[0].source)][t]));
            if (node.kind != Kind::injection) continue;
            out.emplace_back();
            for (std::size_t j = 0; j < at(node.size); ++j) {
                const std::int64_t embedded = node.tokens[static_cast<std::size_t>(id) * at(node.size) + j] +
                                              node.positions[tokens.size() * at(node.size) + j];
                out.back().push_back(embedded * node.gains[t]);
            }
        }
    }
    tokens.push_back(std::move(token));
    return tokens.back();
}

}  // namespace bispik::test
