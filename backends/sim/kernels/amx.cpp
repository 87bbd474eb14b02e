// The kernels for x86 with AMX: those of VNNI, but for matrices of many columns, which tiles multiply.
#include "amx_tiles.hpp"
#include "paths.hpp"

namespace bispik {
namespace {

constexpr int kTileRows = 16;   // columns of operands that a tile holds
constexpr int kTileBytes = 64;  // rows of weights that one product takes
constexpr int kSumsPerPart = 16;

// Neuron of lane `lane` of part q: the order in which `interleave` leaves weights; see vnni.cpp.
constexpr int neuron_of(int part, int lane) { return 16 * (lane / 4) + 4 * part + lane % 4; }

void multiply(const Tile& tile, const std::uint8_t* operands, std::size_t operand_stride, int columns,
              std::int32_t* sums, std::size_t stride) {
    for (int first = 0; first < columns; first += kTileRows) {
        const int some = columns - first < kTileRows ? columns - first : kTileRows;
        TileShapes shapes;
        for (int t = 0; t < 5; ++t) {  // 0 to 3: sums of a part of the neurons; 4: operands
            shapes.rows[t] = static_cast<std::uint8_t>(some);
            shapes.bytes_per_row[t] = kTileBytes;
        }
        for (int t = 5; t < 7; ++t) {  // weights of a part, by turns
            shapes.rows[t] = kTileBytes / 4;
            shapes.bytes_per_row[t] = kTileBytes;
        }
        configure(shapes);
        clear_tile<0>();
        clear_tile<1>();
        clear_tile<2>();
        clear_tile<3>();
        const std::uint8_t* column = operands + static_cast<std::size_t>(first) * operand_stride;
        for (int k = 0; k < tile.depth; k += kTileBytes) {
            // Four rows of weights for 64 neurons lie in 256 bytes, 64 for each part.
            const std::int8_t* weights = tile.weights + static_cast<std::size_t>(k) * kColumnsAtOnce;
            load_tile<4>(column + k, operand_stride);
            load_tile<5>(weights, 256);
            add_products<0, 4, 5>();
            load_tile<6>(weights + 64, 256);
            add_products<1, 4, 6>();
            load_tile<5>(weights + 128, 256);
            add_products<2, 4, 5>();
            load_tile<6>(weights + 192, 256);
            add_products<3, 4, 6>();
        }
        alignas(64) std::int32_t found[4][kTileRows][kSumsPerPart];
        store_tile<0>(found[0], kTileBytes);
        store_tile<1>(found[1], kTileBytes);
        store_tile<2>(found[2], kTileBytes);
        store_tile<3>(found[3], kTileBytes);
        for (int c = 0; c < some; ++c) {
            std::int32_t* target = sums + static_cast<std::size_t>(first + c) * stride;
            for (int part = 0; part < 4; ++part) {
                for (int lane = 0; lane < kSumsPerPart; ++lane) target[neuron_of(part, lane)] += found[part][c][lane];
            }
        }
    }
    release();
}

}  // namespace

const Kernels& amx_kernels() {
    static const Kernels kernels = [] {
        Kernels made = vnni_kernels();
        made.name = "amx";
        made.multiply = multiply;
        return made;
    }();
    return kernels;
}

}  // namespace bispik
