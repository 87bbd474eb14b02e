// Neurons whose currents do not fit the kernels' 32 bits. The compiler proves that those of its programs do; a program
// made in another way may saturate its membranes, and must then do so exactly as the definition says.
#include <algorithm>
#include <vector>

#include "engine.hpp"

namespace bispik {
namespace {

constexpr std::int64_t kMembraneMax = (1 << 23) - 1;

int bits_in(std::uint64_t word) { return __builtin_popcountll(word); }

}  // namespace

std::int64_t run_wide_neurons(const Neurons& neurons, int steps, int width, const std::int64_t* current,
                              std::size_t stride, std::uint8_t* plus, std::uint8_t* minus, std::int32_t* membranes,
                              std::size_t membrane_stride) {
    std::int64_t clipped = 0;
    for (int j = 0; j < width; ++j) {
        std::int64_t membrane = 0, spike = 0;
        int positive = 0, negative = 0;
        for (int t = 0; t < steps; ++t) {
            const std::int64_t magnitude = membrane < 0 ? -membrane : membrane;
            const std::int64_t kept = (magnitude * neurons.keep) >> 12;
            // Sums of currents may have wrapped, as those of the definition do; unsigned numbers may.
            const std::uint64_t wrapped =
                static_cast<std::uint64_t>(membrane < 0 ? -kept : kept) +
                static_cast<std::uint64_t>(
                    current[static_cast<std::size_t>(t) * stride + static_cast<std::size_t>(j)]) +
                static_cast<std::uint64_t>(std::int64_t{neurons.bias[j]});
            const std::uint64_t taken = neurons.hard ? 0 : static_cast<std::uint64_t>(neurons.subtract[j] * spike);
            const auto next = static_cast<std::int64_t>(wrapped - taken);
            const std::int64_t inside = std::clamp(next, -kMembraneMax, kMembraneMax);
            clipped += inside != next;
            spike = inside > neurons.threshold[j];
            if (neurons.ternary) spike -= inside < -std::int64_t{neurons.threshold[j]};
            membrane = neurons.hard && spike ? 0 : inside;
            positive |= (spike > 0) << t;
            negative |= (spike < 0) << t;
            if (membranes)
                membranes[static_cast<std::size_t>(t) * membrane_stride + static_cast<std::size_t>(j)] =
                    static_cast<std::int32_t>(membrane);
        }
        plus[j] = static_cast<std::uint8_t>(positive);
        if (minus) minus[j] = static_cast<std::uint8_t>(negative);
    }
    return clipped;
}

std::int64_t attend_wide(const HeadQuery& query) {
    const std::size_t stored = static_cast<std::size_t>(query.stored), blocks = query.window / 64;
    const int signs = query.signs;
    const auto row = [&](int t, int sign) { return static_cast<std::size_t>(t * signs + sign); };
    std::vector<std::int64_t> scores(static_cast<std::size_t>(query.steps) * stored, 0);
    for (int t = 0; t < query.steps; ++t) {
        for (std::size_t j = 0; j < stored; ++j) {
            std::int64_t score = 0;
            for (int s = 0; s < signs; ++s) {
                for (int z = 0; z < signs; ++z) {
                    for (int w = 0; w < query.words; ++w) {
                        const std::size_t words = static_cast<std::size_t>(query.words),
                                          word = static_cast<std::size_t>(w);
                        const std::uint64_t key = query.keys[(row(t, z) * words + word) * query.window + j];
                        const int common = bits_in(query.query[row(t, s) * words + word] & key);
                        score += s == z ? common : -common;
                    }
                }
            }
            scores[static_cast<std::size_t>(t) * stored + j] = score * (std::int64_t{1} << query.exponent);
        }
    }
    std::vector<std::int32_t> threshold(stored, *query.neurons.threshold), subtract(stored, *query.neurons.subtract),
        bias(stored, *query.neurons.bias);
    Neurons neurons = query.neurons;
    neurons.threshold = threshold.data();
    neurons.subtract = subtract.data();
    neurons.bias = bias.data();
    std::vector<std::uint8_t> masks[2] = {std::vector<std::uint8_t>(stored), std::vector<std::uint8_t>(stored)};
    const std::int64_t clipped = run_wide_neurons(neurons, query.steps, query.stored, scores.data(), stored,
                                                  masks[0].data(), masks[1].data(), nullptr, 0);
    for (int t = 0; t < query.steps; ++t) {
        for (int s = 0; s < signs; ++s) {
            std::uint64_t* spikes = query.spikes + row(t, s) * blocks;
            std::fill_n(spikes, (stored + 63) / 64, 0);
            for (std::size_t j = 0; j < stored; ++j)
                spikes[j / 64] |= std::uint64_t{(masks[s][j] >> t) & 1u} << (j % 64);
        }
        for (int d = 0; d < query.head_dim; ++d) {
            const std::size_t depth = static_cast<std::size_t>(query.head_dim), channel = static_cast<std::size_t>(d);
            std::int32_t sum = 0;
            for (int s = 0; s < signs; ++s) {
                for (int z = 0; z < signs; ++z) {
                    for (std::size_t block = 0; block < (stored + 63) / 64; ++block) {
                        const std::uint64_t value = query.values[(row(t, z) * blocks + block) * depth + channel];
                        const int common = bits_in(query.spikes[row(t, s) * blocks + block] & value);
                        sum += s == z ? common : -common;
                    }
                }
            }
            query.output[static_cast<std::size_t>(t) * depth + channel] = sum;
        }
    }
    return clipped;
}

}  // namespace bispik
