#include "matrix.hpp"

#include <algorithm>
#include <cstring>

namespace bispik {
namespace {

constexpr int kColumnsWorthATile = 8;     // fewer columns do not repay putting weights beside each other
constexpr double kDensityWorthATile = .1; // share of operands that are not 0
constexpr int kWidestStrip = 768;
constexpr int kWeightsInCache = 256 << 10;  // bytes of a strip that several tokens read again

int whole_lines(int width) { return (width + 63) / 64 * 64; }

// Share of rows that the planes of the block hold.
double density(const MatrixInput& input, int tokens) {
    double rows = 0;
    for (int i = 0; i < tokens * input.planes_each; ++i) rows += (*input.planes)[static_cast<std::size_t>(i)].nonzero;
    return rows / (static_cast<double>(input.depth) * tokens * input.planes_each);
}

void spread_bytes(MatrixInput& input, int tokens) {
    const std::size_t depth = static_cast<std::size_t>(input.padded_depth());
    const std::size_t columns = static_cast<std::size_t>(tokens * input.columns);
    input.bytes.assign(static_cast<std::size_t>(input.planes_each) * columns * depth, 0);
    input.empty.assign(static_cast<std::size_t>(input.planes_each), 1);
    for (int token = 0; token < tokens; ++token) {
        for (int p = 0; p < input.planes_each; ++p) {
            const Plane& plane = (*input.planes)[static_cast<std::size_t>(token * input.planes_each + p)];
            if (plane.nonzero) input.empty[static_cast<std::size_t>(p)] = 0;
            std::uint8_t* bytes = input.bytes.data() +
                (static_cast<std::size_t>(p) * columns + static_cast<std::size_t>(token * input.columns)) * depth;
            for (int i = 0; i < plane.nonzero; ++i) {
                const std::uint8_t* values = plane.values.data() + static_cast<std::size_t>(i) * kMaximalSteps;
                for (int c = 0; c < input.columns; ++c) {
                    bytes[static_cast<std::size_t>(c) * depth + static_cast<std::size_t>(plane.rows[static_cast<std::size_t>(i)])] = values[c];
                }
            }
        }
    }
}

// totals += sign * (sums << shift), and sums = 0.
template <typename Number>
void gather(std::int32_t* sums, std::size_t sums_stride, int rows, int width, bool negative, int shift, Number* totals,
            std::size_t stride) {
    for (int r = 0; r < rows; ++r) {
        std::int32_t* from = sums + static_cast<std::size_t>(r) * sums_stride;
        Number* to = totals + static_cast<std::size_t>(r) * stride;
        using Unsigned = std::make_unsigned_t<Number>;  // wraps where a signed shift would be undefined
        for (int j = 0; j < width; ++j) {
            const Unsigned shifted = static_cast<Unsigned>(static_cast<Number>(from[j])) << shift;
            const Unsigned before = static_cast<Unsigned>(to[j]);
            to[j] = static_cast<Number>(negative ? before - shifted : before + shifted);
        }
        std::memset(from, 0, static_cast<std::size_t>(width) * sizeof *from);
    }
}

}  // namespace

int prepare(MatrixInput& input, int tokens, const Kernels& kernels, int threads) {
    input.bytes.clear();
    const int columns = tokens * input.columns;
    if (kernels.multiply && columns >= kColumnsWorthATile && tokens > 1 && density(input, tokens) > kDensityWorthATile) {
        spread_bytes(input, tokens);
        return kColumnsAtOnce;
    }
    const int share = whole_lines((input.width + threads - 1) / threads);
    const int cached = tokens > 1 ? kWeightsInCache / std::max(1, input.depth) / 64 * 64 : kWidestStrip;
    return std::clamp(std::min(cached, share), 64, kWidestStrip);
}

template <typename Number>
void add_matrix(const MatrixInput& input, const Kernels& kernels, int tokens, int first, int width, Number* totals,
                std::size_t stride, std::vector<std::int32_t>& scratch, std::vector<std::int8_t>& tile) {
    const std::size_t line = static_cast<std::size_t>(whole_lines(width));
    const int columns = tokens * input.columns;
    scratch.resize(std::max(scratch.size(), static_cast<std::size_t>(columns) * line));
    std::fill_n(scratch.data(), static_cast<std::size_t>(columns) * line, 0);
    const std::size_t matrix_stride = static_cast<std::size_t>(input.width);
    if (!input.bytes.empty()) {
        const int depth = input.padded_depth();
        tile.resize(std::max(tile.size(), static_cast<std::size_t>(depth) * kColumnsAtOnce));
        kernels.interleave(input.weights + first, matrix_stride, input.depth, width, tile.data());
        for (int p = 0; p < input.planes_each; ++p) {
            if (input.empty[static_cast<std::size_t>(p)]) continue;
            const Plane& plane = (*input.planes)[static_cast<std::size_t>(p)];
            const std::uint8_t* bytes = input.bytes.data() + static_cast<std::size_t>(p) * static_cast<std::size_t>(columns) * static_cast<std::size_t>(depth);
            kernels.multiply({tile.data(), depth}, bytes, static_cast<std::size_t>(depth), columns, scratch.data(), line);
            gather(scratch.data(), line, columns, width, plane.negative, plane.shift + input.exponent, totals, stride);
        }
        return;
    }
    for (int token = 0; token < tokens; ++token) {
        for (int p = 0; p < input.planes_each; ++p) {
            const Plane& plane = (*input.planes)[static_cast<std::size_t>(token * input.planes_each + p)];
            if (!plane.nonzero) continue;
            const ActiveRows active{input.weights + first, matrix_stride, plane.rows.data(), plane.count,
                                    plane.values.data(), plane.operands.data(), input.columns, plane.binary};
            kernels.add_rows(active, width, scratch.data(), line);
            gather(scratch.data(), line, input.columns, width, plane.negative, plane.shift + input.exponent,
                   totals + static_cast<std::size_t>(token * input.columns) * stride, stride);
        }
    }
}

template void add_matrix(const MatrixInput&, const Kernels&, int, int, int, std::int32_t*, std::size_t,
                         std::vector<std::int32_t>&, std::vector<std::int8_t>&);
template void add_matrix(const MatrixInput&, const Kernels&, int, int, int, std::int64_t*, std::size_t,
                         std::vector<std::int32_t>&, std::vector<std::int8_t>&);

}  // namespace bispik
