// Counting of what was sent, from which bispik.backends.counts derives every event.
#include <algorithm>
#include <vector>

#include "engine.hpp"

namespace bispik {
namespace {

// Masks of the steps in which channels of a node sent anything, OR'ed into `masks`.
void add_sent(const Block& block, int node, int token, int start, int stop, std::uint8_t* masks) {
    const Node& from = block.network->nodes[static_cast<std::size_t>(node)];
    const Output& output = block.outputs[static_cast<std::size_t>(node)];
    const std::size_t size = static_cast<std::size_t>(from.size), row = static_cast<std::size_t>(token) * size;
    const std::size_t first = static_cast<std::size_t>(start), count = static_cast<std::size_t>(stop - start);
    if (from.form.graded) {
        for (int t = 0; t < block.network->steps; ++t) {
            const std::int32_t* values = output.graded.data() + row * static_cast<std::size_t>(block.network->steps) +
                                         static_cast<std::size_t>(t) * size + first;
            for (std::size_t j = 0; j < count; ++j) masks[j] |= static_cast<std::uint8_t>((values[j] != 0) << t);
        }
        return;
    }
    const std::uint8_t* plus = output.plus.data() + row + first;
    for (std::size_t j = 0; j < count; ++j) masks[j] |= plus[j];
    if (!from.form.negative) return;
    const std::uint8_t* minus = output.minus.data() + row + first;
    for (std::size_t j = 0; j < count; ++j) masks[j] |= minus[j];
}

// Bits of word `word` that belong to tokens [first, last).
std::uint64_t tokens_in_word(int word, int first, int last) {
    const int low = std::max(first - 64 * word, 0), high = std::min(last - 64 * word, 64);
    if (low >= high) return 0;
    const std::uint64_t below_high = high == 64 ? ~0ull : (1ull << high) - 1;
    return below_high & ~((1ull << low) - 1);
}

const std::uint64_t* score_spikes(const Block& block, const Node& node, int token, int head) {
    const std::size_t each = static_cast<std::size_t>(block.network->steps * block.network->signs(node)) * (block.network->room() / 64);
    const std::size_t row = static_cast<std::size_t>(token * node.heads + head);
    return block.scores[static_cast<std::size_t>(node.cache)].data() + row * each;
}

void count_scores(const Block& block, const ScoreSegment& segment, int token, std::int32_t* counts) {
    const Node& node = block.network->nodes[static_cast<std::size_t>(segment.node)];
    const int signs = block.network->signs(node), blocks = static_cast<int>(block.network->room() / 64);
    const int last = std::min(segment.last, block.places[static_cast<std::size_t>(token)].position + 1);
    const std::uint64_t* spikes = score_spikes(block, node, token, segment.head);
    for (int t = 0; t < block.network->steps; ++t) {
        for (int s = 0; s < signs; ++s) {
            for (int word = segment.first / 64; word * 64 < last; ++word) {
                counts[t] += __builtin_popcountll(spikes[(t * signs + s) * blocks + word] & tokens_in_word(word, segment.first, last));
            }
        }
    }
}

void count_partials(const Block& block, const PartialSegment& segment, int token, std::int32_t* counts) {
    const Node& node = block.network->nodes[static_cast<std::size_t>(segment.node)];
    const Place& place = block.places[static_cast<std::size_t>(token)];
    const int steps = block.network->steps, signs = block.network->signs(node);
    const std::size_t blocks = block.network->room() / 64, depth = static_cast<std::size_t>(node.head_dim);
    const int last = std::min(segment.last, place.position + 1);
    const std::size_t head_values = static_cast<std::size_t>(steps * signs) * blocks * depth;
    for (int channel = segment.start; channel < segment.stop; ++channel) {
        const int head = channel / node.head_dim;
        const std::uint64_t* spikes = score_spikes(block, node, token, head);
        const std::uint64_t* values = place.sequence->stored[static_cast<std::size_t>(node.cache)].values.data() +
                                      static_cast<std::size_t>(head) * head_values + static_cast<std::size_t>(channel % node.head_dim);
        for (int t = 0; t < steps; ++t) {
            std::int32_t sum = 0;
            for (int s = 0; s < signs; ++s) {
                for (int z = 0; z < signs; ++z) {
                    for (int word = segment.first / 64; word * 64 < last; ++word) {
                        const std::size_t at = static_cast<std::size_t>(word);
                        const std::uint64_t both = spikes[static_cast<std::size_t>(t * signs + s) * blocks + at] &
                            values[(static_cast<std::size_t>(t * signs + z) * blocks + at) * depth] & tokens_in_word(word, segment.first, last);
                        sum += s == z ? __builtin_popcountll(both) : -__builtin_popcountll(both);
                    }
                }
            }
            counts[t] += sum != 0;
        }
    }
}

}  // namespace

void count_block(const Block& block, const Counting& counting, const Kernels& kernels, Pool& pool, std::int32_t* counts) {
    const std::size_t steps = static_cast<std::size_t>(block.network->steps);
    const std::size_t segments = counting.segments.size(), scores = counting.scores.size();
    const std::size_t all = segments + scores + counting.partials.size();
    pool.run(block.tokens(), [&](int token) {
        std::int32_t* row = counts + static_cast<std::size_t>(token) * all * steps;
        std::fill_n(row, all * steps, 0);
        std::vector<std::uint8_t> masks;
        for (std::size_t i = 0; i < segments; ++i) {
            const Segment& segment = counting.segments[i];
            masks.assign(static_cast<std::size_t>(segment.stop - segment.start), 0);
            for (const int node : segment.nodes) add_sent(block, node, token, segment.start, segment.stop, masks.data());
            std::int64_t found[kMaximalSteps] = {};
            kernels.count_masks(masks.data(), masks.size(), found);
            for (std::size_t t = 0; t < steps; ++t) row[i * steps + t] = static_cast<std::int32_t>(found[t]);
        }
        for (std::size_t i = 0; i < scores; ++i) count_scores(block, counting.scores[i], token, row + (segments + i) * steps);
        for (std::size_t i = 0; i < counting.partials.size(); ++i) {
            count_partials(block, counting.partials[i], token, row + (segments + scores + i) * steps);
        }
    });
}

}  // namespace bispik
