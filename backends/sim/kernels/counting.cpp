// Counting of what was sent, from which bispik.backends.counts derives every event.
#include <algorithm>
#include <vector>

#include "engine.hpp"

namespace bispik {
namespace {

// Bits of word `word` that belong to tokens [first, last).
std::uint64_t tokens_in_word(int word, int first, int last) {
    const int low = std::max(first - 64 * word, 0), high = std::min(last - 64 * word, 64);
    if (low >= high) return 0;
    const std::uint64_t below_high = high == 64 ? ~0ull : (1ull << high) - 1;
    return below_high & ~((1ull << low) - 1);
}

const std::uint64_t* score_spikes(const Block& block, const Node& node, int token, int head) {
    const std::size_t each =
        static_cast<std::size_t>(block.network->steps * block.network->signs(node)) * (block.network->room() / 64);
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
                counts[t] += __builtin_popcountll(spikes[(t * signs + s) * blocks + word] &
                                                  tokens_in_word(word, segment.first, last));
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
                                      static_cast<std::size_t>(head) * head_values +
                                      static_cast<std::size_t>(channel % node.head_dim);
        for (int t = 0; t < steps; ++t) {
            std::int32_t sum = 0;
            for (int s = 0; s < signs; ++s) {
                for (int z = 0; z < signs; ++z) {
                    for (int word = segment.first / 64; word * 64 < last; ++word) {
                        const std::size_t at = static_cast<std::size_t>(word);
                        const std::uint64_t both =
                            spikes[static_cast<std::size_t>(t * signs + s) * blocks + at] &
                            values[(static_cast<std::size_t>(t * signs + z) * blocks + at) * depth] &
                            tokens_in_word(word, segment.first, last);
                        sum += s == z ? __builtin_popcountll(both) : -__builtin_popcountll(both);
                    }
                }
            }
            counts[t] += sum != 0;
        }
    }
}

}  // namespace

void Sent::update(const Block& block, const Counting& counting) {
    masks_.assign(block.network->nodes.size(), nullptr);
    made_.resize(masks_.size());
    for (const Segment& segment : counting.segments) {
        for (const int node : segment.nodes) make(block, node);
    }
}

void Sent::make(const Block& block, int index) {
    const std::size_t at = static_cast<std::size_t>(index);
    if (masks_[at]) return;
    const Node& node = block.network->nodes[at];
    const Output& output = block.outputs[at];
    masks_[at] = output.plus.data();
    if (!node.form.graded && !node.form.negative) return;
    const std::size_t steps = static_cast<std::size_t>(block.network->steps),
                      size = static_cast<std::size_t>(node.size);
    std::vector<std::uint8_t>& made = made_[at];
    made.assign(static_cast<std::size_t>(block.tokens()) * size, 0);
    masks_[at] = made.data();
    if (!node.form.graded) {
        for (std::size_t i = 0; i < made.size(); ++i) made[i] = output.plus[i] | output.minus[i];
        return;
    }
    for (std::size_t row = 0; row < static_cast<std::size_t>(block.tokens()) * steps; ++row) {
        const std::int32_t* values = output.graded.data() + row * size;
        std::uint8_t* masks = made.data() + row / steps * size;
        const std::size_t step = row % steps;
        for (std::size_t j = 0; j < size; ++j) masks[j] |= static_cast<std::uint8_t>((values[j] != 0) << step);
    }
}

void count_block(const Block& block, const Counting& counting, const Kernels& kernels, Pool& pool, Sent& sent,
                 std::int32_t* counts) {
    const std::size_t steps = static_cast<std::size_t>(block.network->steps);
    const std::size_t segments = counting.segments.size(), scores = counting.scores.size();
    const std::size_t all = segments + scores + counting.partials.size();
    sent.update(block, counting);
    pool.run(block.tokens(), [&](int token) {
        std::int32_t* row = counts + static_cast<std::size_t>(token) * all * steps;
        std::fill_n(row, all * steps, 0);
        std::vector<std::uint8_t> any;
        for (std::size_t i = 0; i < segments; ++i) {
            const Segment& segment = counting.segments[i];
            const std::size_t width = static_cast<std::size_t>(segment.stop - segment.start);
            const auto masks_of = [&](int node) {
                const int size = block.network->nodes[static_cast<std::size_t>(node)].size;
                return sent.masks(node) + static_cast<std::size_t>(token) * static_cast<std::size_t>(size) +
                       segment.start;
            };
            const std::uint8_t* masks = masks_of(segment.nodes[0]);
            if (segment.nodes.size() > 1) {
                any.assign(masks, masks + width);
                for (const int node : segment.nodes) {
                    const std::uint8_t* more = masks_of(node);
                    for (std::size_t j = 0; j < width; ++j) any[j] |= more[j];
                }
                masks = any.data();
            }
            kernels.count_masks(masks, width, block.network->steps, row + i * steps);
        }
        for (std::size_t i = 0; i < scores; ++i)
            count_scores(block, counting.scores[i], token, row + (segments + i) * steps);
        for (std::size_t i = 0; i < counting.partials.size(); ++i) {
            count_partials(block, counting.partials[i], token, row + (segments + scores + i) * steps);
        }
    });
}

}  // namespace bispik
