#include <array>
#include <cstring>

#include "block.hpp"

namespace bispik {
namespace {

// The eight bits of a mask as eight bytes.
constexpr std::array<std::uint64_t, 256> kSpread = [] {
    std::array<std::uint64_t, 256> table{};
    for (int mask = 0; mask < 256; ++mask) {
        for (int t = 0; t < 8; ++t) {
            table[static_cast<std::size_t>(mask)] |= static_cast<std::uint64_t>((mask >> t) & 1) << (8 * t);
        }
    }
    return table;
}();

void clear(Plane& plane, bool negative, int shift, int size) {
    plane.negative = negative;
    plane.shift = shift;
    plane.nonzero = 0;
    const std::size_t most = static_cast<std::size_t>(size) + kRowsAtOnce + kRowsAhead;
    if (plane.rows.size() < most) {
        plane.rows.resize(most);
        plane.values.resize(most * kMaximalSteps);
        plane.operands.resize(most / 4 * kMaximalSteps + kMaximalSteps);
    }
}

// Pad to whole groups and put four rows' operands beside each other.
void finish(Plane& plane, int columns, bool binary) {
    plane.binary = binary;
    plane.count = (plane.nonzero + kRowsAtOnce - 1) / kRowsAtOnce * kRowsAtOnce;
    const std::int32_t last = plane.nonzero ? plane.rows[static_cast<std::size_t>(plane.nonzero - 1)] : 0;
    for (int i = plane.nonzero; i < plane.count + kRowsAhead; ++i) plane.rows[static_cast<std::size_t>(i)] = last;
    std::memset(plane.values.data() + static_cast<std::size_t>(plane.nonzero) * kMaximalSteps, 0,
                static_cast<std::size_t>(plane.count - plane.nonzero) * kMaximalSteps);
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

void from_masks(Plane& plane, const std::uint8_t* masks, int size, bool negative, int steps) {
    clear(plane, negative, 0, size);
    int count = 0;
    for (int k = 0; k < size; ++k) {
        plane.rows[static_cast<std::size_t>(count)] = k;
        std::memcpy(plane.values.data() + static_cast<std::size_t>(count) * kMaximalSteps, &kSpread[masks[k]], 8);
        count += masks[k] != 0;
    }
    plane.nonzero = count;
    finish(plane, steps, true);
}

// numbers: [columns][size]; takes the byte at `shift` of the magnitudes of one sign.
void from_numbers(Plane& plane, const std::int32_t* numbers, int size, int columns, bool negative, int shift) {
    clear(plane, negative, shift, size);
    int count = 0;
    for (int k = 0; k < size; ++k) {
        std::uint8_t* values = plane.values.data() + static_cast<std::size_t>(count) * kMaximalSteps;
        std::memset(values, 0, kMaximalSteps);
        bool any = false;
        for (int c = 0; c < columns; ++c) {
            const std::int32_t number = numbers[static_cast<std::size_t>(c) * static_cast<std::size_t>(size) + k];
            const std::int32_t magnitude = negative ? -number : number;
            if (magnitude > 0) values[c] = static_cast<std::uint8_t>(magnitude >> shift);
            any = any || values[c];
        }
        plane.rows[static_cast<std::size_t>(count)] = k;
        count += any;
    }
    plane.nonzero = count;
    finish(plane, columns, false);
}

void planes_from_numbers(Plane* planes, const OutputForm& form, const std::int32_t* numbers, int size, int columns) {
    for (int sign = 0; sign < (form.negative ? 2 : 1); ++sign) {
        for (int byte = 0; byte < form.bytes(); ++byte) {
            from_numbers(*planes++, numbers, size, columns, sign == 1, 8 * byte);
        }
    }
}

}  // namespace

const std::vector<Plane>& planes_of(Block& block, int source) {
    const Node& node = block.network->nodes[static_cast<std::size_t>(source)];
    Output& output = block.outputs[static_cast<std::size_t>(source)];
    if (output.has_planes) return output.planes;
    const int steps = block.network->steps;
    const std::size_t size = static_cast<std::size_t>(node.size);
    const int each = plane_count(node.form);
    if (output.planes.size() < static_cast<std::size_t>(block.tokens() * each)) {
        output.planes.resize(static_cast<std::size_t>(block.tokens() * each));
    }
    for (int token = 0; token < block.tokens(); ++token) {
        Plane* planes = output.planes.data() + token * each;
        const std::size_t first = static_cast<std::size_t>(token) * size;
        if (node.form.graded) {
            const std::int32_t* numbers = output.graded.data() + first * static_cast<std::size_t>(steps);
            planes_from_numbers(planes, node.form, numbers, node.size, steps);
        } else {
            from_masks(planes[0], output.plus.data() + first, node.size, false, steps);
            if (node.form.negative) from_masks(planes[1], output.minus.data() + first, node.size, true, steps);
        }
    }
    output.has_planes = true;
    return output.planes;
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
    for (int t = 0; t < block.network->steps; ++t) {
        add_outputs(block, source, token, t, 0, sums.data());
    }
    return sums;
}

OutputForm summed_form(const Network& network, int source) {
    const OutputForm& form = network.nodes[static_cast<std::size_t>(source)].form;
    return {true, form.negative, form.magnitude * network.steps};
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

}  // namespace bispik
