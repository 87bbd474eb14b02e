// Attention over keys and values that are stored as bits.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "engine.hpp"

namespace bispik {
namespace {

// Sizes of one attention's stored tokens and queries; see HeadQuery.
struct Layout {
    std::size_t steps, signs, words, room, depth;

    Layout(const Network& network, const Node& node)
        : steps(static_cast<std::size_t>(network.steps)),
          signs(static_cast<std::size_t>(network.signs(node))),
          words((static_cast<std::size_t>(node.head_dim) + 63) / 64),
          room(network.room()),
          depth(static_cast<std::size_t>(node.head_dim)) {}

    std::size_t keys() const { return steps * signs * words * room; }           // words of a head
    std::size_t values() const { return steps * signs * (room / 64) * depth; }  // words of a head
    std::size_t query() const { return steps * signs * words; }
    std::size_t spikes() const { return steps * signs * (room / 64); }
};

// Masks of some channels of one sign, or null where the node has no such spikes.
const std::uint8_t* masks_of(const Block& block, int node, int token, int sign, std::size_t first) {
    const Node& from = block.network->nodes[static_cast<std::size_t>(node)];
    const Output& output = block.outputs[static_cast<std::size_t>(node)];
    if (sign == 1 && !from.form.negative) return nullptr;
    return (sign ? output.minus : output.plus).data() +
           static_cast<std::size_t>(token) * static_cast<std::size_t>(from.size) + first;
}

// Write [steps][signs][words] of a head's spikes, each word `stride` words behind the one before.
void pack_head(const Block& block, const Layout& layout, int node, int token, std::size_t first, const Kernels& kernels,
               std::uint64_t* to, std::size_t stride) {
    const std::size_t step_stride = layout.signs * layout.words * stride;
    for (std::size_t s = 0; s < layout.signs; ++s) {
        const std::uint8_t* masks = masks_of(block, node, token, static_cast<int>(s), first);
        for (std::size_t w = 0; w < layout.words; ++w) {
            std::uint64_t* words = to + (s * layout.words + w) * stride;
            if (masks) {
                const int count = static_cast<int>(std::min<std::size_t>(64, layout.depth - 64 * w));
                kernels.pack_bits(masks + 64 * w, count, static_cast<int>(layout.steps), words, step_stride);
            } else {
                for (std::size_t t = 0; t < layout.steps; ++t) words[t * step_stride] = 0;
            }
        }
    }
}

void store_key(const Block& block, const Layout& layout, int node, int token, std::size_t head,
               const Kernels& kernels) {
    const Place& place = block.places[static_cast<std::size_t>(token)];
    const int cache = block.network->nodes[static_cast<std::size_t>(node)].cache;
    const int source = block.network->nodes[static_cast<std::size_t>(node)].inputs[1].source;
    std::uint64_t* keys = place.sequence->stored[static_cast<std::size_t>(cache)].keys.data() + head * layout.keys();
    pack_head(block, layout, source, token, head * layout.depth, kernels,
              keys + static_cast<std::size_t>(place.position), layout.room);
}

void store_value(const Block& block, const Layout& layout, int node, int token, std::size_t head,
                 const Kernels& kernels) {
    const Place& place = block.places[static_cast<std::size_t>(token)];
    const int cache = block.network->nodes[static_cast<std::size_t>(node)].cache;
    const int source = block.network->nodes[static_cast<std::size_t>(node)].inputs[2].source;
    std::uint64_t* values =
        place.sequence->stored[static_cast<std::size_t>(cache)].values.data() + head * layout.values();
    const std::size_t word = static_cast<std::size_t>(place.position) / 64, blocks = layout.room / 64;
    for (std::size_t s = 0; s < layout.signs; ++s) {
        const std::uint8_t* masks = masks_of(block, source, token, static_cast<int>(s), head * layout.depth);
        if (!masks) continue;  // binary values beside ternary ones: these bits are never set
        for (std::size_t t = 0; t < layout.steps; ++t) {
            // Bits that are not set are written too: a token that was interrupted may be run again.
            kernels.set_bits(masks, layout.depth, static_cast<int>(t), place.position % 64,
                             values + ((t * layout.signs + s) * blocks + word) * layout.depth);
        }
    }
}

std::int64_t ask(Block& block, const Layout& layout, const Node& node, int index, int token, std::size_t head,
                 const Kernels& kernels) {
    const Place& place = block.places[static_cast<std::size_t>(token)];
    const StoredTokens& stored = place.sequence->stored[static_cast<std::size_t>(node.cache)];
    std::uint64_t query[kMaximalSteps * 2 * 16];
    std::vector<std::uint64_t> large;
    std::uint64_t* asked = query;
    if (layout.query() > sizeof query / sizeof *query) {
        large.resize(layout.query());
        asked = large.data();
    }
    pack_head(block, layout, node.inputs[0].source, token, head * layout.depth, kernels, asked, 1);
    thread_local std::vector<std::int32_t> mixed;
    mixed.resize(layout.steps * layout.depth);
    const std::size_t row = static_cast<std::size_t>(token * node.heads) + head;
    const HeadQuery head_query{block.network->steps,
                               static_cast<int>(layout.signs),
                               node.head_dim,
                               static_cast<int>(layout.words),
                               place.position + 1,
                               layout.room,
                               asked,
                               stored.keys.data() + head * layout.keys(),
                               stored.values.data() + head * layout.values(),
                               node.exponent,
                               node.neurons.at(head, node.small),
                               block.scores[static_cast<std::size_t>(node.cache)].data() + row * layout.spikes(),
                               mixed.data()};
    const std::int64_t clipped = node.wide ? attend_wide(head_query) : kernels.attend(head_query);
    std::int32_t* out = block.outputs[static_cast<std::size_t>(index)].graded.data();
    for (std::size_t t = 0; t < layout.steps; ++t) {
        const std::size_t at =
            (static_cast<std::size_t>(token) * layout.steps + t) * static_cast<std::size_t>(node.size) +
            head * layout.depth;
        std::memcpy(out + at, mixed.data() + t * layout.depth, layout.depth * sizeof *out);
    }
    return clipped;
}

}  // namespace

Sequence::Sequence(const Network& the_network) : network(&the_network) {
    for (const Node& node : the_network.nodes) {
        if (node.kind != Kind::attention) continue;
        const Layout layout(the_network, node);
        const std::size_t heads = static_cast<std::size_t>(node.heads);
        stored.push_back(
            {std::vector<std::uint64_t>(heads * layout.keys()), std::vector<std::uint64_t>(heads * layout.values())});
    }
}

void run_attention(Block& block, int index, const Kernels& kernels, Pool& pool) {
    const Node& node = block.network->nodes[static_cast<std::size_t>(index)];
    const Layout layout(*block.network, node);
    const std::size_t tokens = static_cast<std::size_t>(block.tokens()), heads = static_cast<std::size_t>(node.heads);
    block.outputs[static_cast<std::size_t>(index)].graded.resize(tokens * layout.steps *
                                                                 static_cast<std::size_t>(node.size));
    block.scores[static_cast<std::size_t>(node.cache)].resize(tokens * heads * layout.spikes());
    std::atomic<std::int64_t> clipped{0};
    pool.run(node.heads, [&](int head) {
        for (int token = 0; token < block.tokens(); ++token) {
            store_key(block, layout, index, token, static_cast<std::size_t>(head), kernels);
            store_value(block, layout, index, token, static_cast<std::size_t>(head), kernels);
        }
        // A head's later tokens are stored by now too, but a query looks no further than its own position.
        std::int64_t found = 0;
        for (int token = 0; token < block.tokens(); ++token) {
            found += ask(block, layout, node, index, token, static_cast<std::size_t>(head), kernels);
        }
        clipped += found;
    });
    block.clipped[static_cast<std::size_t>(index)] += clipped;
}

}  // namespace bispik
