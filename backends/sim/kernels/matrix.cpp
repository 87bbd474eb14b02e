#include "matrix.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace bispik {
namespace {

constexpr int kColumnsWorthASpread = 8;  // fewer do not repay putting weights beside each other
constexpr int kWidestStrip = 768;
constexpr int kWeightsInCache = 256 << 10;  // bytes of a strip that several tokens read again

int whole_lines(int width) { return (width + 63) / 64 * 64; }

// What a thread keeps from task to task.
thread_local std::vector<std::int32_t> scratch;
thread_local std::vector<std::int8_t> tile;

std::int32_t* cleared_scratch(std::size_t size) {
    scratch.resize(std::max(scratch.size(), size));
    std::fill_n(scratch.data(), size, 0);
    return scratch.data();
}

// totals += sign * (sums << shift).
template <typename Number>
void gather(const std::int32_t* sums, std::size_t sums_stride, int rows, int width, bool negative, int shift,
            Number* totals, std::size_t stride) {
    using Unsigned = std::make_unsigned_t<Number>;  // wraps where a signed shift would be undefined
    for (int r = 0; r < rows; ++r) {
        const std::int32_t* from = sums + static_cast<std::size_t>(r) * sums_stride;
        Number* to = totals + static_cast<std::size_t>(r) * stride;
        for (int j = 0; j < width; ++j) {
            const Unsigned shifted = static_cast<Unsigned>(static_cast<Number>(from[j])) << shift;
            const Unsigned before = static_cast<Unsigned>(to[j]);
            to[j] = static_cast<Number>(negative ? before - shifted : before + shifted);
        }
    }
}

template <typename Number>
void multiply_spread(const MatrixInput& input, const Kernels& kernels, int tokens, int first, int width, Number* totals,
                     std::size_t stride) {
    const Spread& spread = *input.spread;
    const int columns = tokens * input.columns;
    const std::size_t depth = static_cast<std::size_t>(spread.depth),
                      size = static_cast<std::size_t>(columns) * kColumnsAtOnce;
    tile.resize(std::max(tile.size(), depth * kColumnsAtOnce));
    for (int start = 0; start < width; start += kColumnsAtOnce) {
        const int some = std::min(kColumnsAtOnce, width - start);
        kernels.interleave(input.weights + first + start, static_cast<std::size_t>(input.width), input.depth, some,
                           tile.data());
        int plane = 0;
        for (int sign = 0; sign < (input.form.negative ? 2 : 1); ++sign) {
            for (int byte = 0; byte < input.form.bytes(); ++byte, ++plane) {
                if (spread.empty[static_cast<std::size_t>(plane)]) continue;
                const std::uint8_t* bytes = spread.bytes.data() + static_cast<std::size_t>(plane * columns) * depth;
                std::int32_t* sums = cleared_scratch(size);
                kernels.multiply({tile.data(), spread.depth}, bytes, depth, columns, sums, kColumnsAtOnce);
                gather(sums, kColumnsAtOnce, columns, some, sign == 1, 8 * byte + input.exponent, totals + start,
                       stride);
            }
        }
    }
}

template <typename Number>
void add_planes(const MatrixInput& input, const Kernels& kernels, int tokens, int first, int width, Number* totals,
                std::size_t stride) {
    const int each = plane_count(input.form);
    const std::size_t line = static_cast<std::size_t>(whole_lines(width));
    for (int i = 0; i < tokens * each; ++i) {
        const Plane& plane = (*input.planes)[static_cast<std::size_t>(i)];
        if (!plane.nonzero) continue;
        const ActiveRows active{input.weights + first,
                                static_cast<std::size_t>(input.width),
                                plane.rows.data(),
                                plane.count,
                                plane.binary ? plane.masks.data() : nullptr,
                                plane.values.data(),
                                plane.operands.data(),
                                input.columns};
        Number* to = totals + static_cast<std::size_t>(i / each * input.columns) * stride;
        const int shift = plane.shift + input.exponent;
        if constexpr (std::is_same_v<Number, std::int32_t>) {
            if (!plane.negative && shift == 0) {
                kernels.add_rows(active, width, to, stride);
                continue;
            }
        }
        std::int32_t* sums = cleared_scratch(static_cast<std::size_t>(input.columns) * line);
        kernels.add_rows(active, width, sums, line);
        gather(sums, line, input.columns, width, plane.negative, shift, to, stride);
    }
}

}  // namespace

bool worth_a_spread(const Kernels& kernels, int tokens, int columns) {
    return kernels.multiply && tokens > 1 && tokens * columns >= kColumnsWorthASpread;
}

int strip_of(const MatrixInput& input, int tokens, int threads) {
    const int share = whole_lines((input.width + threads - 1) / threads);
    if (input.spread) return std::min(share, 4 * kColumnsAtOnce);
    const int cached = tokens > 1 ? kWeightsInCache / std::max(1, input.depth) / 64 * 64 : kWidestStrip;
    return std::clamp(std::min(cached, share), 64, kWidestStrip);
}

template <typename Number>
void add_matrix(const MatrixInput& input, const Kernels& kernels, int tokens, int first, int width, Number* totals,
                std::size_t stride) {
    if (input.spread) {
        multiply_spread(input, kernels, tokens, first, width, totals, stride);
    } else {
        add_planes(input, kernels, tokens, first, width, totals, stride);
    }
}

template void add_matrix(const MatrixInput&, const Kernels&, int, int, int, std::int32_t*, std::size_t);
template void add_matrix(const MatrixInput&, const Kernels&, int, int, int, std::int64_t*, std::size_t);

}  // namespace bispik
