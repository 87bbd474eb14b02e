#include "random_network.hpp"

#include <algorithm>
#include <cmath>

namespace bispik::test {
namespace {

constexpr std::int64_t kNarrow = std::int64_t{1} << 30;     // as in bispik.backends.sim.network
constexpr std::int64_t kGraded = std::int64_t{1} << 20;     // outputs that matrices of these networks read
constexpr std::int64_t kNormReads = std::int64_t{1} << 15;  // keeps a norm's products below 2^62
constexpr int kMembraneMax = (1 << 23) - 1;

std::size_t at(int index) { return static_cast<std::size_t>(index); }

}  // namespace

RandomNetwork::RandomNetwork(Random& random, int tokens, int steps, int largest_size) : random_(random) {
    network.steps = steps;
    network.window = tokens + random.one_of({0, 0, 1, random.number(0, 70)});
    const int heads = random.number(1, 3),
              head_dim = random.one_of({1, random.number(1, largest_size), random.number(1, largest_size)});
    const int size = head_dim * heads;
    add_input(size);
    add_population(size, 0);
    for (int more = random.number(2, 7); more > 0; --more) {
        const int kind = random.number(0, 9);
        if (kind < 4) {
            const std::vector<int> sources = candidates(false, 0, kGraded);
            add_population(random.chance(.7) ? size : random.number(1, 2 * largest_size), pick(sources));
        } else if (kind < 7) {
            add_attention(head_dim);
        } else if (kind < 9) {
            add_join(size);
        } else {
            add_norm(size);
        }
    }
    add_readout();
}

std::vector<int> RandomNetwork::candidates(bool spiking, int size, std::int64_t most) const {
    std::vector<int> found;
    for (int index = 0; index < static_cast<int>(network.nodes.size()); ++index) {
        const Node& node = network.nodes[at(index)];
        if (spiking && node.form.graded) continue;
        if ((size == 0 || node.size == size) && reach_[at(index)] <= most) found.push_back(index);
    }
    return found;
}

void RandomNetwork::add(Node node, std::int64_t reach) {
    network.nodes.push_back(std::move(node));
    reach_.push_back(reach);
}

void RandomNetwork::add_input(int size) {
    if (random_.chance(.3)) {
        Node node(Kind::given, size);
        node.form = {false, random_.chance(.5), 1};
        add(std::move(node), 1);
        return;
    }
    vocabulary = random_.number(1, 20);
    Node node(Kind::injection, size);
    node.form = {true, true, kNarrow};
    node.tokens = table(at(vocabulary * size));
    node.positions = table(at(network.window * size));
    for (int t = 0; t < network.steps; ++t) node.gains.push_back(random_.number(-4, 4));
    add(std::move(node), std::int64_t{4} << 16);
}

void RandomNetwork::add_population(int size, int source) {
    Node node(Kind::population, size);
    std::int64_t largest = 0;
    const auto connect = [&](int from, Wiring wiring) {
        const int rows = wiring == Wiring::dense ? size_of(from) : 1;
        const std::int64_t reach = reach_[at(from)] * rows * (wiring == Wiring::direct ? 1 : 128);
        const std::int64_t most = random_.chance(.2) ? std::int64_t{1} << 40 : std::int64_t{1} << 28;
        int exponent = 0;
        while (exponent < 20 && reach << (exponent + 1) <= most && random_.chance(.7)) ++exponent;
        largest += reach << exponent;
        const std::size_t count = at(rows) * at(size);
        node.inputs.push_back({from, wiring, wiring == Wiring::direct ? nullptr : weights(count), exponent});
    };
    const auto wiring = [&](int from) {
        const bool same = size_of(from) == size;
        return !same || random_.chance(.6) ? Wiring::dense : random_.chance(.5) ? Wiring::weighted : Wiring::direct;
    };
    connect(source, wiring(source));
    while (random_.chance(.4)) {
        const int from = pick(candidates(false, 0, kGraded));
        connect(from, wiring(from));
    }
    set_neurons(node, at(size), largest);
    node.form = {false, node.neurons.ternary, 1};
    add(std::move(node), 1);
}

void RandomNetwork::add_attention(int head_dim) {
    const int size = size_of(1);
    const std::vector<int> sources = candidates(true, size, 1);
    const int query = pick(sources), key = pick(sources), value = pick(sources);
    Node node(Kind::attention, size);
    for (const int source : {query, key, value}) node.inputs.push_back({source, Wiring::direct, nullptr, 0});
    node.head_dim = head_dim;
    node.heads = size / head_dim;
    const int most = random_.chance(.2) ? 40 : 20;
    while (node.exponent < most - 8 && random_.chance(.8)) ++node.exponent;
    node.cache = network.attentions++;
    set_neurons(node, at(node.heads), std::int64_t{head_dim} << node.exponent);
    const bool negative =
        node.neurons.ternary || std::any_of(node.inputs.begin(), node.inputs.end(), [&](const Synapses& input) {
            return network.nodes[at(input.source)].form.negative;
        });
    node.form = {true, negative, network.window};
    add(std::move(node), network.window);
}

void RandomNetwork::add_join(int size) {
    Node node(Kind::join, size);
    std::int64_t reach = 0;
    bool negative = false;
    const std::vector<int> sources = candidates(false, size, kGraded);
    for (int count = random_.number(1, 3); count > 0; --count) {
        const int source = pick(sources), exponent = random_.number(0, 4);
        node.inputs.push_back({source, Wiring::direct, nullptr, exponent});
        reach += reach_[at(source)] << exponent;
        negative = negative || network.nodes[at(source)].form.negative;
    }
    node.form = {true, negative, reach};
    add(std::move(node), reach);
}

void RandomNetwork::add_norm(int size) {
    Node node(Kind::norm, size);
    node.inputs.push_back({pick(candidates(false, size, kNormReads)), Wiring::direct, nullptr, 0});
    node.fraction_bits = random_.number(0, 8);
    node.root_bits = random_.number(0, 8);
    node.epsilon = random_.one_of({0, 1, random_.number(0, 100'000)});
    const auto reach =
        static_cast<std::int64_t>(std::ldexp(std::sqrt(static_cast<double>(size)), node.fraction_bits)) + 2;
    node.form = {true, true, reach};
    add(std::move(node), reach);
}

void RandomNetwork::add_readout() {
    const int source = pick(candidates(false, 0, std::int64_t{1} << 24));
    Node node(Kind::readout, random_.number(1, 200));
    node.form = {true, true, kNarrow};
    node.inputs.push_back({source, Wiring::dense, weights(at(size_of(source)) * at(node.size)), 0});
    add(std::move(node), kNarrow);
}

const std::int8_t* RandomNetwork::weights(std::size_t size) {
    weights_.push_back(std::make_unique<Exact<std::int8_t>>(size, random_.number(0, 63)));
    fill_weights(random_, *weights_.back());
    return weights_.back()->data();
}

const std::int16_t* RandomNetwork::table(std::size_t size) {
    tables_.push_back(std::make_unique<Exact<std::int16_t>>(size, random_.number(0, 31)));
    const int largest = random_.one_of({0, 1, 1000, 32767});
    for (std::int16_t& value : *tables_.back()) value = static_cast<std::int16_t>(random_.number(-largest, largest));
    return tables_.back()->data();
}

void RandomNetwork::set_neurons(Node& node, std::size_t count, std::int64_t current) {
    const bool hard = random_.chance(.5), ternary = random_.chance(.4);
    const int decay = random_.one_of({0, 4095, random_.number(0, 4095)});
    // Neurons that never spike, always, or whose threshold lies among their currents, the smallest of them too.
    const int regime = random_.one_of({0, 1, 2, 2, 2, 3, 3});
    const auto scale = static_cast<int>(std::clamp<std::int64_t>(current >> random_.number(1, 8), 1, kMembraneMax));
    const int low = ternary ? 0 : regime == 3 ? -scale : 0;
    std::vector<std::int32_t> threshold, subtract, bias;
    std::int64_t added = current, largest_subtract = 0, largest_bias = 0;
    for (std::size_t j = 0; j < count; ++j) {
        const int high = regime == 2 ? std::min(scale, 3) : scale;
        threshold.push_back(regime == 0               ? kMembraneMax
                            : regime == 1 && !ternary ? -kMembraneMax - 1
                                                      : random_.number(low, high));
        subtract.push_back(hard ? 0 : random_.number(0, scale));
        bias.push_back(regime == 2 ? random_.number(-1, 1) : random_.number(-scale, scale));
        largest_subtract = std::max<std::int64_t>(largest_subtract, subtract.back());
        largest_bias = std::max<std::int64_t>(largest_bias, std::abs(bias.back()));
    }
    added += largest_subtract + largest_bias;
    double gain = 0, kept = 1;
    for (int t = 0; t < network.steps; ++t, kept *= (4096 - decay) / 4096.0) gain += kept;
    const double reached = static_cast<double>(added) * gain;
    node.neurons = {decay, hard, ternary, std::move(threshold), std::move(subtract), std::move(bias)};
    node.small = reached * (4096 - decay) < 4294967296.0 && reached <= kMembraneMax && random_.chance(.8);
    node.wide = added >= kNarrow || random_.chance(.1);
}

}  // namespace bispik::test
