// Matrix of weights times operands, for all tokens of a block and some of the neurons.
#pragma once

#include <cstdint>
#include <vector>

#include "block.hpp"
#include "kernels.hpp"

namespace bispik {

// What one matrix adds to the currents of its neurons.
struct MatrixInput {
    const std::int8_t* weights;  // [depth][width]
    int depth;
    int width;
    int columns;                 // time steps, or 1 for sums over them
    int exponent;
    const std::vector<Plane>* planes;  // [tokens][planes_each]
    int planes_each;
    std::vector<std::uint8_t> bytes;   // [planes_each][tokens * columns][padded depth], for `multiply`; else empty
    std::vector<char> empty;           // [planes_each]: no token has an operand there; only with `bytes`

    int padded_depth() const { return (depth + 3) / 4 * 4; }
};

// Decide how a matrix is applied and prepare it. Returns the width of the strips into which it is best cut.
int prepare(MatrixInput& input, int tokens, const Kernels& kernels, int threads);

// totals[token * columns + c][j] += (matrix @ operands) << exponent for neurons [first, first + width).
// Number is std::int32_t, modulo 2^32, or std::int64_t.
template <typename Number>
void add_matrix(const MatrixInput& input, const Kernels& kernels, int tokens, int first, int width, Number* totals,
                std::size_t stride, std::vector<std::int32_t>& scratch, std::vector<std::int8_t>& tile);

}  // namespace bispik
