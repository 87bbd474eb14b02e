#include "engine.hpp"

#include <algorithm>

namespace bispik {
namespace {

void record_outputs(const Block& block, int index, std::int16_t* out) {
    const Node& node = block.network->nodes[static_cast<std::size_t>(index)];
    std::vector<std::int32_t> row(static_cast<std::size_t>(node.size));
    for (int token = 0; token < block.tokens(); ++token) {
        for (int t = 0; t < block.network->steps; ++t) {
            std::fill(row.begin(), row.end(), 0);
            add_outputs(block, index, token, t, 0, row.data());
            out = std::transform(row.begin(), row.end(), out,
                                 [](std::int32_t value) { return static_cast<std::int16_t>(value); });
        }
    }
}

void record_scores(const Block& block, int index, std::int8_t* out, std::size_t stride) {
    const Node& node = block.network->nodes[static_cast<std::size_t>(index)];
    const std::size_t steps = static_cast<std::size_t>(block.network->steps),
                      heads = static_cast<std::size_t>(node.heads);
    const std::size_t signs = static_cast<std::size_t>(block.network->signs(node)), blocks = block.network->room() / 64;
    for (int token = 0; token < block.tokens(); ++token) {
        const std::size_t stored = static_cast<std::size_t>(block.places[static_cast<std::size_t>(token)].position) + 1;
        for (std::size_t t = 0; t < steps; ++t) {
            for (std::size_t head = 0; head < heads; ++head) {
                const std::size_t row = static_cast<std::size_t>(token) * heads + head;
                const std::uint64_t* spikes =
                    block.scores[static_cast<std::size_t>(node.cache)].data() + (row * steps + t) * signs * blocks;
                for (std::size_t j = 0; j < stored; ++j) {
                    int spike = static_cast<int>((spikes[j / 64] >> (j % 64)) & 1);
                    if (signs == 2) spike -= static_cast<int>((spikes[blocks + j / 64] >> (j % 64)) & 1);
                    out[j] = static_cast<std::int8_t>(spike);
                }
                std::fill(out + stored, out + stride, static_cast<std::int8_t>(0));
                out += stride;
            }
        }
    }
}

template <typename Value>
Value* find(const std::map<int, Value*>& wanted, int node) {
    const auto found = wanted.find(node);
    return found == wanted.end() ? nullptr : found->second;
}

}  // namespace

Engine::Engine(const Network& network, const Kernels& kernels, int threads)
    : network_(network), kernels_(kernels), pool_(threads) {
    block_.network = &network_;
    block_.outputs.resize(network.nodes.size());
    block_.scores.resize(static_cast<std::size_t>(network.attentions));
}

void Engine::run(std::span<const Place> places, const std::vector<Given>& given, const Record& record,
                 const Results& results, const Counting& counting, const std::function<void()>& between) {
    block_.clipped.assign(network_.nodes.size(), 0);
    for (std::size_t first = 0; first < places.size(); first += kBlockTokens) {
        if (first) between();
        const std::size_t count = std::min<std::size_t>(kBlockTokens, places.size() - first);
        run_block(places.subspan(first, count), first, given, record, results, counting);
        for (const Place& place : block_.places) place.sequence->position = place.position + 1;
    }
    for (std::size_t node = 0; node < network_.nodes.size() && results.clipped; ++node) {
        results.clipped[node] += block_.clipped[node];
    }
}

void Engine::run_block(std::span<const Place> places, std::size_t first, const std::vector<Given>& given,
                       const Record& record, const Results& results, const Counting& counting) {
    block_.places.assign(places.begin(), places.end());
    const std::size_t steps = static_cast<std::size_t>(network_.steps);
    for (const Given& spikes : given) {
        Output& output = block_.outputs[static_cast<std::size_t>(spikes.node)];
        const std::size_t size = static_cast<std::size_t>(network_.nodes[static_cast<std::size_t>(spikes.node)].size);
        output.plus.assign(spikes.plus + first * size, spikes.plus + (first + places.size()) * size);
        if (spikes.minus)
            output.minus.assign(spikes.minus + first * size, spikes.minus + (first + places.size()) * size);
    }
    if (results.counts) sent_.start(network_, counting);
    for (int index = 0; index < static_cast<int>(network_.nodes.size()); ++index) {
        const Node& node = network_.nodes[static_cast<std::size_t>(index)];
        const std::size_t size = static_cast<std::size_t>(node.size);
        block_.outputs[static_cast<std::size_t>(index)].has_planes =
            block_.outputs[static_cast<std::size_t>(index)].has_spread = false;
        switch (node.kind) {
            case Kind::given:
                break;
            case Kind::injection:
                run_injection(block_, index);
                break;
            case Kind::join:
                run_join(block_, index);
                break;
            case Kind::norm:
                run_norm(block_, index);
                break;
            case Kind::population: {
                std::int32_t* membranes = find(record.membranes, index);
                run_population(block_, index, kernels_, pool_,
                               {membranes ? membranes + first * steps * size : nullptr});
                break;
            }
            case Kind::attention:
                run_attention(block_, index, kernels_, pool_);
                if (std::int8_t* out = find(record.scores, index)) {
                    record_scores(block_, index,
                                  out + first * steps * static_cast<std::size_t>(node.heads) * record.score_stride,
                                  record.score_stride);
                }
                break;
            case Kind::readout: {
                const std::size_t source =
                    static_cast<std::size_t>(network_.nodes[static_cast<std::size_t>(node.inputs[0].source)].size);
                run_readout(block_, index, kernels_, pool_,
                            results.accumulators ? results.accumulators + first * size : nullptr,
                            results.readout_sums ? results.readout_sums + first * source : nullptr);
                break;
            }
        }
        if (results.counts) sent_.add(block_, index, kernels_);
        if (std::int16_t* out = find(record.outputs, index)) record_outputs(block_, index, out + first * steps * size);
    }
    if (results.counts) {
        const std::size_t all = counting.segments.size() + counting.scores.size() + counting.partials.size();
        count_block(block_, counting, kernels_, pool_, sent_, results.counts + first * all * steps);
    }
}

}  // namespace bispik
