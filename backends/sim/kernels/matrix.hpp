// Matrix of weights times operands, for all tokens of a block and some of the neurons.
#pragma once

#include <cstdint>
#include <vector>

#include "block.hpp"
#include "kernels.hpp"

namespace bispik {

// What one matrix adds to the currents of its neurons. Operands are those of the rows that have any, token by token, or
// those of all rows and tokens at once: the one or the other is given.
struct MatrixInput {
    const std::int8_t* weights;  // [depth][width]
    int depth;
    int width;
    int columns;  // time steps, or 1 for sums over them
    int exponent;
    OutputForm form;                   // of the source
    const std::vector<Plane>* planes;  // [tokens][planes of the form]
    const Spread* spread;
};

// Whether a matrix is better applied to all tokens of a block at once.
bool worth_a_spread(const Kernels& kernels, int tokens, int columns);

// The width of the strips into which a matrix is best cut.
int strip_of(const MatrixInput& input, int tokens, int threads);

// totals[token * columns + c][j] += (matrix @ operands) << exponent for neurons [first, first + width).
// Number is std::int32_t, modulo 2^32, or std::int64_t.
template <typename Number>
void add_matrix(const MatrixInput& input, const Kernels& kernels, int tokens, int first, int width, Number* totals,
                std::size_t stride);

}  // namespace bispik
