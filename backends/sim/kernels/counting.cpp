// Counting of what was sent, from which bispik.backends.counts derives every event.
#include <algorithm>
#include <vector>

#include "engine.hpp"

namespace bispik {
namespace {

const std::uint64_t* score_spikes(const Block& block, const Node& node, int token, int head) {
    const std::size_t each =
        static_cast<std::size_t>(block.network->steps * block.network->signs(node)) * (block.network->room() / 64);
    const std::size_t row = static_cast<std::size_t>(token * node.heads + head);
    return block.scores[static_cast<std::size_t>(node.cache)].data() + row * each;
}

void count_scores(const Block& block, const ScoreSegment& segment, int token, const Kernels& kernels,
                  std::int32_t* counts) {
    const Node& node = block.network->nodes[static_cast<std::size_t>(segment.node)];
    const int signs = block.network->signs(node);
    const std::size_t words = block.network->room() / 64;
    const int last = std::min(segment.last, block.places[static_cast<std::size_t>(token)].position + 1);
    if (segment.first >= last) return;
    const std::uint64_t* spikes = score_spikes(block, node, token, segment.head);
    for (int row = 0; row < block.network->steps * signs; ++row) {
        counts[row / signs] += kernels.count_bits(spikes + static_cast<std::size_t>(row) * words, segment.first, last);
    }
}

// Spikes of stored tokens [first, last) alone, mixed once more. Where these are all that are stored, the attention's
// output is the sum.
void count_partials(const Block& block, const PartialSegment& segment, int token, const Kernels& kernels,
                    const std::uint8_t* sent, std::int32_t* counts) {
    const Node& node = block.network->nodes[static_cast<std::size_t>(segment.node)];
    const Place& place = block.places[static_cast<std::size_t>(token)];
    const int stored = place.position + 1;
    if (segment.first >= stored) return;
    if (segment.first == 0 && segment.last >= stored) {
        kernels.count_masks(sent + segment.start, static_cast<std::size_t>(segment.stop - segment.start),
                            block.network->steps, counts);
        return;
    }
    const std::size_t steps = static_cast<std::size_t>(block.network->steps),
                      rows = steps * static_cast<std::size_t>(block.network->signs(node)),
                      words = block.network->room() / 64, depth = static_cast<std::size_t>(node.head_dim);
    std::vector<std::uint64_t> spikes(rows * words);
    std::vector<std::int32_t> sums(steps * depth);
    HeadQuery query{};
    query.steps = block.network->steps;
    query.signs = block.network->signs(node);
    query.head_dim = node.head_dim;
    query.stored = std::min(segment.last, stored);
    query.window = block.network->room();
    query.spikes = spikes.data();
    query.output = sums.data();
    const auto first_word = static_cast<std::size_t>(segment.first / 64),
               last_word = static_cast<std::size_t>((query.stored - 1) / 64);
    for (int head = segment.start / node.head_dim; head * node.head_dim < segment.stop; ++head) {
        const std::uint64_t* all = score_spikes(block, node, token, head);
        for (std::size_t row = 0; row < rows; ++row) {
            std::uint64_t* range = spikes.data() + row * words;
            std::copy(all + row * words + first_word, all + row * words + last_word + 1, range + first_word);
            range[first_word] &= ~0ull << (segment.first % 64);
            range[last_word] &= ~0ull >> (63 - (query.stored - 1) % 64);
        }
        query.values = place.sequence->stored[static_cast<std::size_t>(node.cache)].values.data() +
                       static_cast<std::size_t>(head) * rows * words * depth;
        kernels.mix_values(query);
        const int first = head * node.head_dim;
        const auto begin = static_cast<std::size_t>(std::max(segment.start - first, 0)),
                   end = static_cast<std::size_t>(std::min(segment.stop - first, node.head_dim));
        for (std::size_t t = 0; t < steps; ++t) {
            for (std::size_t d = begin; d < end; ++d) counts[t] += sums[t * depth + d] != 0;
        }
    }
}

}  // namespace

void Sent::start(const Network& network, const Counting& counting) {
    masks_.assign(network.nodes.size(), nullptr);
    made_.resize(masks_.size());
    wanted_.assign(masks_.size(), 0);
    for (const Segment& segment : counting.segments) {
        for (const int node : segment.nodes) wanted_[static_cast<std::size_t>(node)] = 1;
    }
    for (const PartialSegment& segment : counting.partials) wanted_[static_cast<std::size_t>(segment.node)] = 1;
}

void Sent::add(const Block& block, int index, const Kernels& kernels) {
    const std::size_t at = static_cast<std::size_t>(index);
    if (!wanted_[at]) return;
    const Node& node = block.network->nodes[at];
    const Output& output = block.outputs[at];
    masks_[at] = output.plus.data();
    if (!node.form.graded && !node.form.negative) return;
    const std::size_t steps = static_cast<std::size_t>(block.network->steps),
                      size = static_cast<std::size_t>(node.size), tokens = static_cast<std::size_t>(block.tokens());
    std::vector<std::uint8_t>& made = made_[at];
    made.resize(tokens * size);
    masks_[at] = made.data();
    if (!node.form.graded) {
        for (std::size_t i = 0; i < made.size(); ++i) made[i] = output.plus[i] | output.minus[i];
        return;
    }
    for (std::size_t token = 0; token < tokens; ++token) {
        kernels.mark_nonzero(output.graded.data() + token * steps * size, size, block.network->steps,
                             made.data() + token * size);
    }
}

void count_block(const Block& block, const Counting& counting, const Kernels& kernels, Pool& pool, const Sent& sent,
                 std::int32_t* counts) {
    const std::size_t steps = static_cast<std::size_t>(block.network->steps);
    const std::size_t segments = counting.segments.size(), scores = counting.scores.size();
    const std::size_t all = segments + scores + counting.partials.size();
    pool.run(block.tokens(), [&](int token) {
        std::int32_t* row = counts + static_cast<std::size_t>(token) * all * steps;
        std::fill_n(row, all * steps, 0);
        std::vector<std::uint8_t> any;
        const auto masks_of = [&](int node) {
            const int size = block.network->nodes[static_cast<std::size_t>(node)].size;
            return sent.masks(node) + static_cast<std::size_t>(token) * static_cast<std::size_t>(size);
        };
        for (std::size_t i = 0; i < segments; ++i) {
            const Segment& segment = counting.segments[i];
            const std::size_t width = static_cast<std::size_t>(segment.stop - segment.start);
            const std::uint8_t* masks = masks_of(segment.nodes[0]) + segment.start;
            if (segment.nodes.size() > 1) {
                any.assign(masks, masks + width);
                for (const int node : segment.nodes) {
                    const std::uint8_t* more = masks_of(node) + segment.start;
                    for (std::size_t j = 0; j < width; ++j) any[j] |= more[j];
                }
                masks = any.data();
            }
            kernels.count_masks(masks, width, block.network->steps, row + i * steps);
        }
        for (std::size_t i = 0; i < scores; ++i)
            count_scores(block, counting.scores[i], token, kernels, row + (segments + i) * steps);
        for (std::size_t i = 0; i < counting.partials.size(); ++i) {
            const PartialSegment& partial = counting.partials[i];
            count_partials(block, partial, token, kernels, masks_of(partial.node),
                           row + (segments + scores + i) * steps);
        }
    });
}

}  // namespace bispik
