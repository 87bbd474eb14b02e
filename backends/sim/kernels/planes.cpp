#include <algorithm>
#include <cstring>
#include <limits>

#include "block.hpp"

namespace bispik {
namespace {

void clear(Plane& plane, bool negative, int shift, int size) {
    plane.negative = negative;
    plane.shift = shift;
    static_assert(kRowsAtOnce + kRowsAhead >= kPlacesBehind);
    const std::size_t most = static_cast<std::size_t>(size) + kRowsAtOnce + kRowsAhead;
    if (plane.rows.size() < most) {
        plane.rows.resize(most);
        plane.operands.resize(most / 4 * kMaximalSteps + kMaximalSteps);
    }
}

// Pad the rows to whole groups; they have no operands there.
void pad_rows(Plane& plane, int nonzero) {
    plane.nonzero = nonzero;
    plane.count = (nonzero + kRowsAtOnce - 1) / kRowsAtOnce * kRowsAtOnce;
    const std::int32_t last = nonzero ? plane.rows[static_cast<std::size_t>(nonzero - 1)] : 0;
    std::fill(plane.rows.begin() + nonzero, plane.rows.begin() + plane.count + kRowsAhead, last);
}

void from_masks(Plane& plane, const Kernels& kernels, const std::uint8_t* masks, int size, bool negative, int steps) {
    clear(plane, negative, 0, size);
    plane.binary = true;
    plane.masks.resize(std::max(plane.masks.size(), plane.rows.size()));
    std::uint8_t* kept = plane.masks.data();
    const int count = kernels.collect_masks(masks, size, plane.rows.data(), kept);
    pad_rows(plane, count);
    std::memset(kept + count, 0, static_cast<std::size_t>(plane.count - count));
    const int words = plane.count / 4;
    for (int c = 0; c < steps; ++c) {
        std::uint32_t* operands = plane.operands.data() + static_cast<std::size_t>(c * words);
        for (int word = 0; word < words; ++word) {
            std::uint32_t four;
            std::memcpy(&four, kept + 4 * word, sizeof four);
            operands[word] = (four >> c) & 0x01010101u;
        }
    }
}

// The byte at `shift` of a number's magnitude, if it has that sign.
std::uint8_t byte_of(std::int32_t number, bool negative, int shift) {
    const std::int32_t magnitude = negative ? -number : number;
    return magnitude > 0 ? static_cast<std::uint8_t>(magnitude >> shift) : std::uint8_t{0};
}

// numbers: [columns][size].
void from_numbers(Plane& plane, const std::int32_t* numbers, int size, int columns, bool negative, int shift) {
    clear(plane, negative, shift, size);
    plane.binary = false;
    plane.values.resize(std::max(plane.values.size(), plane.rows.size() * kMaximalSteps));
    int count = 0;
    for (int k = 0; k < size; ++k) {
        std::uint8_t* values = plane.values.data() + static_cast<std::size_t>(count) * kMaximalSteps;
        std::memset(values, 0, kMaximalSteps);
        bool any = false;
        for (int c = 0; c < columns; ++c) {
            values[c] =
                byte_of(numbers[static_cast<std::size_t>(c) * static_cast<std::size_t>(size) + k], negative, shift);
            any = any || values[c];
        }
        plane.rows[static_cast<std::size_t>(count)] = k;
        count += any;
    }
    pad_rows(plane, count);
    std::memset(plane.values.data() + static_cast<std::size_t>(count) * kMaximalSteps, 0,
                static_cast<std::size_t>(plane.count - count) * kMaximalSteps);
    const int words = plane.count / 4;
    for (int word = 0; word < words; ++word) {
        const std::uint8_t* values = plane.values.data() + static_cast<std::size_t>(word) * 4 * kMaximalSteps;
        for (int c = 0; c < columns; ++c) {
            std::uint32_t four = 0;
            for (int r = 0; r < 4; ++r) four |= static_cast<std::uint32_t>(values[r * kMaximalSteps + c]) << (8 * r);
            plane.operands[static_cast<std::size_t>(c * words + word)] = four;
        }
    }
}

void planes_from_numbers(Plane* planes, const OutputForm& form, const std::int32_t* numbers, int size, int columns) {
    for (int sign = 0; sign < (form.negative ? 2 : 1); ++sign) {
        for (int byte = 0; byte < form.bytes(); ++byte) {
            from_numbers(*planes++, numbers, size, columns, sign == 1, 8 * byte);
        }
    }
}

void begin_spread(Spread& spread, int size, int planes, int columns) {
    spread.depth = (size + kDepthAtOnce - 1) / kDepthAtOnce * kDepthAtOnce;
    spread.bytes.assign(
        static_cast<std::size_t>(planes) * static_cast<std::size_t>(columns) * static_cast<std::size_t>(spread.depth),
        0);
    spread.empty.assign(static_cast<std::size_t>(planes), 1);
}

// Spread rows of numbers, [columns][size], of one token; `all` columns of all tokens, this token's from `first`.
void spread_numbers(Spread& spread, const OutputForm& form, const std::int32_t* numbers, int size, int columns,
                    int first, int all) {
    int plane = 0;
    for (int sign = 0; sign < (form.negative ? 2 : 1); ++sign) {
        for (int byte = 0; byte < form.bytes(); ++byte, ++plane) {
            std::uint8_t any = 0;
            for (int c = 0; c < columns; ++c) {
                const std::int32_t* row = numbers + static_cast<std::size_t>(c) * static_cast<std::size_t>(size);
                std::uint8_t* bytes = spread.bytes.data() + static_cast<std::size_t>(plane * all + first + c) *
                                                                static_cast<std::size_t>(spread.depth);
                for (int k = 0; k < size; ++k) {
                    bytes[k] = byte_of(row[k], sign == 1, 8 * byte);
                    any |= bytes[k];
                }
            }
            if (any) spread.empty[static_cast<std::size_t>(plane)] = 0;
        }
    }
}

void spread_masks(Spread& spread, const std::uint8_t* masks, int size, int steps, int plane, int first, int all) {
    std::uint8_t any = 0;
    for (int c = 0; c < steps; ++c) {
        std::uint8_t* bytes = spread.bytes.data() + static_cast<std::size_t>(plane * all + first + c) *
                                                        static_cast<std::size_t>(spread.depth);
        for (int k = 0; k < size; ++k) bytes[k] = (masks[k] >> c) & 1;
    }
    for (int k = 0; k < size; ++k) any |= masks[k];
    if (any) spread.empty[static_cast<std::size_t>(plane)] = 0;
}

}  // namespace

const std::vector<Plane>& planes_of(Block& block, int source, const Kernels& kernels) {
    const Node& node = block.network->nodes[static_cast<std::size_t>(source)];
    Output& output = block.outputs[static_cast<std::size_t>(source)];
    if (output.has_planes) return output.planes;
    const int steps = block.network->steps;
    const std::size_t size = static_cast<std::size_t>(node.size);
    const int each = plane_count(node.form);
    output.planes.resize(std::max(output.planes.size(), static_cast<std::size_t>(block.tokens() * each)));
    for (int token = 0; token < block.tokens(); ++token) {
        Plane* planes = output.planes.data() + token * each;
        const std::size_t first = static_cast<std::size_t>(token) * size;
        if (node.form.graded) {
            const std::int32_t* numbers = output.graded.data() + first * static_cast<std::size_t>(steps);
            planes_from_numbers(planes, node.form, numbers, node.size, steps);
        } else {
            from_masks(planes[0], kernels, output.plus.data() + first, node.size, false, steps);
            if (node.form.negative) {
                from_masks(planes[1], kernels, output.minus.data() + first, node.size, true, steps);
            }
        }
    }
    output.has_planes = true;
    return output.planes;
}

const Spread& spread_of(Block& block, int source) {
    const Node& node = block.network->nodes[static_cast<std::size_t>(source)];
    Output& output = block.outputs[static_cast<std::size_t>(source)];
    if (output.has_spread) return output.spread;
    const int steps = block.network->steps, all = block.tokens() * steps;
    const std::size_t size = static_cast<std::size_t>(node.size);
    begin_spread(output.spread, node.size, plane_count(node.form), all);
    for (int token = 0; token < block.tokens(); ++token) {
        const std::size_t first = static_cast<std::size_t>(token) * size;
        if (node.form.graded) {
            const std::int32_t* numbers = output.graded.data() + first * static_cast<std::size_t>(steps);
            spread_numbers(output.spread, node.form, numbers, node.size, steps, token * steps, all);
        } else {
            spread_masks(output.spread, output.plus.data() + first, node.size, steps, 0, token * steps, all);
            if (node.form.negative) {
                spread_masks(output.spread, output.minus.data() + first, node.size, steps, 1, token * steps, all);
            }
        }
    }
    output.has_spread = true;
    return output.spread;
}

void add_outputs(const Block& block, int node, int token, int step, int exponent, std::int32_t* to) {
    const Node& from = block.network->nodes[static_cast<std::size_t>(node)];
    const Output& output = block.outputs[static_cast<std::size_t>(node)];
    const std::size_t size = static_cast<std::size_t>(from.size), row = static_cast<std::size_t>(token) * size;
    if (from.form.graded) {
        const std::size_t steps = static_cast<std::size_t>(block.network->steps);
        const std::int32_t* values = output.graded.data() + row * steps + static_cast<std::size_t>(step) * size;
        for (std::size_t j = 0; j < size; ++j) to[j] += values[j] * (1 << exponent);
        return;
    }
    const std::uint8_t* plus = output.plus.data() + row;
    for (std::size_t j = 0; j < size; ++j) to[j] += ((plus[j] >> step) & 1) << exponent;
    if (!from.form.negative) return;
    const std::uint8_t* minus = output.minus.data() + row;
    for (std::size_t j = 0; j < size; ++j) to[j] -= ((minus[j] >> step) & 1) << exponent;
}

std::vector<std::int32_t> sums_over_steps(const Block& block, int source, int token) {
    const Node& node = block.network->nodes[static_cast<std::size_t>(source)];
    std::vector<std::int32_t> sums(static_cast<std::size_t>(node.size), 0);
    for (int t = 0; t < block.network->steps; ++t) add_outputs(block, source, token, t, 0, sums.data());
    return sums;
}

OutputForm summed_form(const Network& network, int source) {
    const OutputForm& form = network.nodes[static_cast<std::size_t>(source)].form;
    // Sums are 32-bit numbers, whatever a form allows for: that of an injection is far from what its tables reach.
    const std::int64_t most = std::numeric_limits<std::int32_t>::max();
    return {true, form.negative, std::min(form.magnitude * network.steps, most)};
}

std::vector<Plane> summed_planes(const Block& block, int source) {
    const OutputForm form = summed_form(*block.network, source);
    const int each = plane_count(form);
    std::vector<Plane> planes(static_cast<std::size_t>(block.tokens() * each));
    for (int token = 0; token < block.tokens(); ++token) {
        const std::vector<std::int32_t> sums = sums_over_steps(block, source, token);
        planes_from_numbers(planes.data() + token * each, form, sums.data(), static_cast<int>(sums.size()), 1);
    }
    return planes;
}

Spread summed_spread(const Block& block, int source) {
    const OutputForm form = summed_form(*block.network, source);
    const int size = block.network->nodes[static_cast<std::size_t>(source)].size;
    Spread spread;
    begin_spread(spread, size, plane_count(form), block.tokens());
    for (int token = 0; token < block.tokens(); ++token) {
        const std::vector<std::int32_t> sums = sums_over_steps(block, source, token);
        spread_numbers(spread, form, sums.data(), size, 1, token, block.tokens());
    }
    return spread;
}

}  // namespace bispik
