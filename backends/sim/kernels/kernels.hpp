// The inner loops of the simulator, as a table of functions: one table for each instruction set.
//
// Every function is exact in integers, so that all tables give the same bits. Layouts:
//   weights   int8, one row per source output, `stride` bytes apart; column j belongs to neuron j
//   mask      uint8 per channel, bit t says that the channel spiked at time step t
//   sums      int32, modulo 2^32; the engine proves that what is read from them did not wrap
#pragma once

#include <cstddef>
#include <cstdint>

#include "stream_kernels.hpp"

namespace bispik {

inline constexpr int kMaximalSteps = 8;
inline constexpr int kRowsAtOnce = 8;      // `ActiveRows` are padded to a multiple of this many
inline constexpr int kRowsAhead = 64;      // readable entries behind the last row, for prefetching
inline constexpr int kDepthAtOnce = 64;    // rows of a tile come in such groups
inline constexpr int kColumnsAtOnce = 64;  // width of an interleaved tile
inline constexpr int kPlacesBehind = 16;   // that `collect` and `collect_masks` may write behind the last one

// The rows of a weight matrix whose source output is not 0 in at least one column, in ascending order.
struct ActiveRows {
    const std::int8_t* weights;
    std::size_t stride;
    const std::int32_t* rows;       // count entries and kRowsAhead more that may be prefetched
    int count;                      // a multiple of kRowsAtOnce; padding names some row and has operands of 0
    const std::uint8_t* masks;      // [count]: bit c is the row's operand in column c; null if some are not 0 or 1
    const std::uint8_t* values;     // [count][kMaximalSteps]: the row's operands, if there are no masks
    const std::uint32_t* operands;  // [columns][count / 4]: the operands, four rows in a word
    int columns;                    // 1 to kMaximalSteps
};

// A weight matrix's columns [first, first + 64), four rows beside each other: [depth / 4][64][4] bytes.
struct Tile {
    const std::int8_t* weights;
    int depth;  // a multiple of kDepthAtOnce; rows behind the matrix's last are 0
};

// Constants of neurons, in membrane units; see IntegerNeurons in bispik.compiler.program.
struct Neurons {
    std::int32_t keep;  // 4096 - decay
    bool hard;
    bool ternary;
    bool small;  // no membrane saturates, and its magnitude times keep stays below 2^32
    const std::int32_t* threshold;
    const std::int32_t* subtract;
    const std::int32_t* bias;
};

// One run of neurons over the steps of a token, from rest.
struct NeuronRun {
    int steps;
    int width;                    // neurons
    const std::int32_t* current;  // [steps][current_stride], each below 2^30 in magnitude
    std::size_t current_stride;
    std::uint8_t* plus;       // [width]: masks of spikes
    std::uint8_t* minus;      // [width]: masks of spikes of -1; may be null if binary
    std::int32_t* membranes;  // [steps][membrane_stride]: stored membranes; null if nobody asks
    std::size_t membrane_stride;
};

// One head's attention of one token to `stored` tokens, all time steps.
struct HeadQuery {
    int steps;
    int signs;  // 1: binary spikes; 2: ternary, plus bits first and then minus bits
    int head_dim;
    int words;  // 64-bit words of a key: ceil(head_dim / 64)
    int stored;
    std::size_t window;           // tokens that keys and values have room for, a multiple of 64
    const std::uint64_t* query;   // [steps][signs][words]
    const std::uint64_t* keys;    // [steps][signs][words][window]
    const std::uint64_t* values;  // [steps][signs][window / 64][head_dim]: bit j of a word is a token's
    int exponent;
    Neurons neurons;        // one set of constants: each pointer at one value
    std::uint64_t* spikes;  // [steps][signs][window / 64]: written up to word ceil(stored / 64)
    std::int32_t* output;   // [steps][head_dim]
};

struct Kernels {
    const char* name;

    // sums[c * sums_stride + j] += sum over rows of operand(row, c) * weights(row, j), for j < width.
    void (*add_rows)(const ActiveRows& active, int width, std::int32_t* sums, std::size_t sums_stride);

    // Write a tile of `rows` rows, padded to its depth, of which `width` <= 64 columns exist; null if this table has no
    // `multiply`.
    void (*interleave)(const std::int8_t* weights, std::size_t stride, int rows, int width, std::int8_t* tile);

    // sums[c * sums_stride + j] += sum over k of operands[c * operand_stride + k] * tile(k, j), for j < 64.
    void (*multiply)(const Tile& tile, const std::uint8_t* operands, std::size_t operand_stride, int columns,
                     std::int32_t* sums, std::size_t sums_stride);

    // Returns how many membrane updates were clipped to 24 bits.
    std::int64_t (*run_neurons)(const Neurons& neurons, const NeuronRun& run);

    // Returns how many membrane updates were clipped.
    std::int64_t (*attend)(const HeadQuery& query);

    // query.output[t][d] = sum over stored tokens of spike * value; keys and neurons are not looked at.
    void (*mix_values)(const HeadQuery& query);

    // Write the places of all masks other than 0, in order, and those masks, and return how many there are. `places`
    // and `kept` have room for kPlacesBehind more than size.
    int (*collect_masks)(const std::uint8_t* masks, int size, std::int32_t* places, std::uint8_t* kept);

    // Bit i of words[t * stride] = bit t of masks[i], for i < count and t < steps; no other bit is set. count <= 64.
    void (*pack_bits)(const std::uint8_t* masks, int count, int steps, std::uint64_t* words, std::size_t stride);

    // Set bit `position` of words[i] to bit `step` of masks[i], for i < size.
    void (*set_bits)(const std::uint8_t* masks, std::size_t size, int step, int position, std::uint64_t* words);

    // Bit t of masks[i] = whether values[t * size + i] is not 0, for i < size and t < steps.
    void (*mark_nonzero)(const std::int32_t* values, std::size_t size, int steps, std::uint8_t* masks);

    // Returns how many of bits [first, last) are set, 64 of them in a word; first < last.
    std::int32_t (*count_bits)(const std::uint64_t* words, int first, int last);

    // counts[t] = channels of which bit t is set, for t < steps.
    void (*count_masks)(const std::uint8_t* masks, std::size_t size, int steps, std::int32_t* counts);

    // --- Stream networks ---

    // sums[j] += sum over events of (value * weights[source * stride + j]) << shift, for j < width.
    void (*add_events)(const std::int8_t* weights, std::size_t stride, const Events& events, int width,
                       std::uint32_t* sums);

    // sums[n - first] += what events cause at neuron n of a map, for first <= n < first + width.
    void (*add_map)(const MapSynapses& map, const Events& events, int first, int width, std::uint32_t* sums);

    // Returns how many membrane updates were clipped to 24 bits. Currents, and biases plus subtractions, are below 2^30
    // in magnitude.
    std::int64_t (*run_stream)(const StreamNeurons& neurons, const StreamRun& run);

    // Write the places of all values other than 0, in order, and return how many there are. `places` has room for
    // kPlacesBehind more than size.
    int (*collect)(const std::int32_t* values, int size, std::int32_t* places);
};

}  // namespace bispik
