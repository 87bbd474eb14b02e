// Each table's functions against plain loops, in memory that is exactly as large as kernels.hpp asks for.
#include <algorithm>
#include <memory>

#include "check.hpp"
#include "plain.hpp"
#include "tests.hpp"

namespace bispik::test {
namespace {

std::size_t at(int index) { return static_cast<std::size_t>(index); }

struct Sums {
    Exact<std::int32_t> found;
    Numbers wanted;
    std::size_t stride;

    // [columns][stride], of which the last row ends with its last neuron; not 0 at first, for kernels add.
    Sums(Random& random, int columns, int width, std::size_t the_stride)
        : found(at(columns - 1) * the_stride + at(width), random.number(0, 15)), stride(the_stride) {
        for (std::int32_t& sum : found) sum = random.number(-1000, 1000);
        wanted.assign(found.begin(), found.end());
    }

    void expect_equal(const char* what) const { expect_same(found.data(), wanted.data(), found.size(), what); }
};

void test_add_rows(Random& random, const Kernels& kernels) {
    const int depth = random.one_of({1, 7, 64, 300, random.number(1, 700)});
    const int width = random.one_of({1, 63, 64, 65, 769, 1025, 1537, random.number(1, 2100)});
    const int columns = random.number(1, kMaximalSteps), skipped = random.number(0, 70);
    const std::size_t stride = at(width + skipped) + at(random.number(0, 70));
    const bool binary = random.chance(.5);
    const int largest = random.one_of({2, 8, 31, 32, 255});
    Exact<std::int8_t> weights(at(depth - 1) * stride + at(skipped + width), random.number(0, 63));
    fill_weights(random, weights);

    const double rate = random.one_of({0, 5, 30, 100}) / 100.0;
    std::vector<std::int32_t> active;
    for (int k = 0; k < depth; ++k) {
        if (random.chance(rate)) active.push_back(k);
    }
    const std::size_t nonzero = active.size(), count = (nonzero + kRowsAtOnce - 1) / kRowsAtOnce * kRowsAtOnce;
    Exact<std::int32_t> rows(count + kRowsAhead, random.number(0, 3));
    for (std::size_t i = 0; i < rows.size(); ++i) {
        rows[i] = i < nonzero ? active[i] : random.number(0, depth - 1);  // padding names some row
    }
    Exact<std::uint8_t> values(binary ? 0 : count * kMaximalSteps, random.number(0, 7));
    Exact<std::uint8_t> masks(binary ? count : 0, random.number(0, 7));
    Exact<std::uint32_t> operands(at(columns) * count / 4, random.number(0, 7));
    Sums sums(random, columns, width, at(width) + at(random.number(0, 70)));
    for (std::size_t i = 0; i < nonzero; ++i) {
        for (std::size_t c = 0; c < at(columns); ++c) {
            const int value = random.chance(.3) ? 0
                              : binary          ? 1
                                                : random.one_of({1, largest / 2, largest, random.number(1, largest)});
            if (binary) {
                masks[i] = static_cast<std::uint8_t>(masks[i] | value << c);
            } else {
                values[i * kMaximalSteps + c] = static_cast<std::uint8_t>(value);
            }
            operands[c * (count / 4) + i / 4] |= static_cast<std::uint32_t>(value) << (8 * (i % 4));
            for (std::size_t j = 0; j < at(width); ++j) {
                sums.wanted[c * sums.stride + j] += value * weights[at(rows[i]) * stride + at(skipped) + j];
            }
        }
    }
    const ActiveRows given{weights.data() + skipped,
                           stride,
                           rows.data(),
                           static_cast<int>(count),
                           binary ? masks.data() : nullptr,
                           binary ? nullptr : values.data(),
                           operands.data(),
                           columns};
    kernels.add_rows(given, width, sums.found.data(), sums.stride);
    sums.expect_equal(binary ? "add_rows, spikes" : "add_rows, numbers");
}

void test_multiply(Random& random, const Kernels& kernels) {
    if (!kernels.multiply) return;
    const int rows = random.one_of({1, 3, 4, 5, 64, 65, random.number(1, 300)});
    const int depth = (rows + kDepthAtOnce - 1) / kDepthAtOnce * kDepthAtOnce;
    const int width = random.one_of({1, 63, 64, random.number(1, 64)}), columns = random.number(1, 40);
    const std::size_t stride = at(width) + at(random.number(0, 70));
    const std::size_t operand_stride = at(depth) + at(random.number(0, 9));
    Exact<std::int8_t> weights(at(rows - 1) * stride + at(width), random.number(0, 63));
    fill_weights(random, weights);
    Exact<std::int8_t> tile(at(depth) * kColumnsAtOnce, random.number(0, 63));
    Exact<std::uint8_t> operands(at(columns - 1) * operand_stride + at(depth), random.number(0, 7));
    const int largest = random.one_of({0, 1, 255});
    for (std::uint8_t& operand : operands) operand = static_cast<std::uint8_t>(random.number(0, largest));
    const std::size_t sums_stride = kColumnsAtOnce + at(random.number(0, 20));
    Sums sums(random, columns, kColumnsAtOnce, sums_stride);
    for (std::size_t c = 0; c < at(columns); ++c) {
        for (std::size_t k = 0; k < at(rows); ++k) {
            for (std::size_t j = 0; j < at(width); ++j) {
                sums.wanted[c * sums_stride + j] += operands[c * operand_stride + k] * weights[k * stride + j];
            }
        }
    }
    kernels.interleave(weights.data(), stride, rows, width, tile.data());
    kernels.multiply({tile.data(), depth}, operands.data(), operand_stride, columns, sums.found.data(), sums_stride);
    sums.expect_equal("multiply");
}

// Constants that meet the contract of `small` if they say so, with currents of at most `current`.
struct Constants {
    Exact<std::int32_t> threshold, subtract, bias;
    Neurons neurons{};
    int current;

    Constants(Random& random, int count, int steps) {
        const int skipped = random.number(0, 15), scale = random.one_of({3, 1000, 100'000, 6'000'000, 300'000'000});
        threshold = subtract = bias = Exact<std::int32_t>(at(count), skipped);
        neurons.hard = random.chance(.5);
        neurons.ternary = random.chance(.5);
        neurons.keep = random.one_of({1, 4096, random.number(1, 4096)});
        current = scale;
        for (std::size_t j = 0; j < at(count); ++j) {
            threshold[j] = random.number(neurons.ternary ? 0 : -scale, scale);
            subtract[j] = neurons.hard ? 0 : random.number(-scale, scale);
            bias[j] = random.number(-scale, scale);
        }
        double gain = 0, kept = 1;
        for (int t = 0; t < steps; ++t, kept *= neurons.keep / 4096.0) gain += kept;
        const double reached = 3.0 * scale * gain;
        neurons.small = reached * neurons.keep < 4294967296.0 && reached <= (1 << 23) - 1 && random.chance(.8);
        neurons.threshold = threshold.data();
        neurons.subtract = subtract.data();
        neurons.bias = bias.data();
    }
};

void test_run_neurons(Random& random, const Kernels& kernels) {
    const int steps = random.number(1, kMaximalSteps);
    const int width = random.one_of({1, 15, 63, 64, 65, random.number(1, 300)});
    const Constants constants(random, width, steps);
    const std::size_t size = at(width), stride = size + at(random.number(0, 20)),
                      kept = size + at(random.number(0, 20));
    const std::size_t last = at(steps - 1);
    Exact<std::int32_t> current(last * stride + size, random.number(0, 15));
    for (std::int32_t& value : current) value = random.number(-constants.current, constants.current);
    Exact<std::uint8_t> plus(size, random.number(0, 15)), minus(size, random.number(0, 15));
    Exact<std::int32_t> membranes(last * kept + size, random.number(0, 15));
    const bool signs = constants.neurons.ternary || random.chance(.3), record = random.chance(.5);
    const std::int64_t clipped = kernels.run_neurons(
        constants.neurons, {steps, width, current.data(), stride, plus.data(), signs ? minus.data() : nullptr,
                            record ? membranes.data() : nullptr, kept});
    Numbers wanted_plus(size, 0), wanted_minus(size, 0), wanted_membranes(membranes.size(), 0);
    std::int64_t wanted_clipped = 0;
    for (std::size_t j = 0; j < size; ++j) {
        PlainNeuron neuron;
        for (std::size_t t = 0; t <= last; ++t) {
            wanted_clipped += neuron.step(constants.neurons, j, current[t * stride + j]);
            wanted_plus[j] |= std::int64_t{neuron.spike > 0} << t;
            wanted_minus[j] |= std::int64_t{neuron.spike < 0} << t;
            wanted_membranes[t * kept + j] = neuron.membrane;
        }
    }
    expect_same(&clipped, &wanted_clipped, 1, "run_neurons, clipped");
    expect_same(plus.data(), wanted_plus.data(), size, "run_neurons, plus");
    if (signs) expect_same(minus.data(), wanted_minus.data(), size, "run_neurons, minus");
    if (record) expect_same(membranes.data(), wanted_membranes.data(), membranes.size(), "run_neurons, membranes");
}

// A bit of an array of words of 64.
std::int64_t bit(const Exact<std::uint64_t>& words, std::size_t word, std::size_t position) {
    return static_cast<std::int64_t>((words[word] >> position) & 1);
}

void test_attend(Random& random, const Kernels& kernels) {
    const int steps = random.number(1, kMaximalSteps);
    const int head_dim = random.one_of({1, 63, 64, 65, 128, random.number(1, 200)}), words = (head_dim + 63) / 64;
    const std::size_t window = 64 * at(random.number(1, 4)), blocks = window / 64, depth = at(head_dim);
    const int stored = random.one_of({1, 64, static_cast<int>(window), random.number(1, static_cast<int>(window))});
    Constants constants(random, 1, steps);
    const int signs = constants.neurons.ternary || random.chance(.3) ? 2 : 1;
    int exponent = 0;
    while (exponent < 20 && head_dim << (exponent + 1) <= constants.current && random.chance(.9)) ++exponent;
    if (head_dim << exponent > constants.current)
        constants.neurons.small = false;  // currents above what it was made for

    const std::size_t rows = at(steps * signs);
    Exact<std::uint64_t> query(rows * at(words), random.number(0, 7));
    Exact<std::uint64_t> keys(rows * at(words) * window, random.number(0, 7));
    Exact<std::uint64_t> values(rows * blocks * depth, random.number(0, 7));
    Exact<std::uint64_t> spikes(rows * blocks, random.number(0, 7));
    Exact<std::int32_t> output(at(steps) * depth, random.number(0, 15));
    const int regime = random.number(0, 3);
    const auto any = [&] { return regime == 0 ? 0 : regime == 1 ? ~0ull : random.word() & random.word(); };
    for (std::uint64_t& word : keys) word = any();  // also of tokens that are not stored yet
    for (std::uint64_t& word : values) word = any();
    for (std::uint64_t& word : spikes) word = random.word();
    for (std::size_t i = 0; i < query.size(); ++i) {
        const int left = head_dim - 64 * static_cast<int>(i % at(words));
        query[i] = any() & (left >= 64 ? ~0ull : (1ull << left) - 1);
    }

    const HeadQuery head_query{
        steps,         signs,    head_dim,          words,         stored,       window, query.data(), keys.data(),
        values.data(), exponent, constants.neurons, spikes.data(), output.data()};
    const std::int64_t clipped = kernels.attend(head_query);
    std::int64_t wanted_clipped = 0;
    Numbers wanted(output.size(), 0);
    const auto signed_bits = [&](auto read) {  // read(sign): the bit of plus, less that of minus
        return signs == 1 ? read(std::size_t{0}) : read(std::size_t{0}) - read(std::size_t{1});
    };
    for (std::size_t j = 0; j < at(stored); ++j) {
        PlainNeuron neuron;
        for (std::size_t t = 0; t < at(steps); ++t) {
            const auto row = [&](std::size_t sign) { return t * at(signs) + sign; };
            std::int64_t score = 0;
            for (std::size_t d = 0; d < depth; ++d) {
                score += signed_bits([&](std::size_t s) { return bit(query, row(s) * at(words) + d / 64, d % 64); }) *
                         signed_bits([&](std::size_t s) {
                             return bit(keys, (row(s) * at(words) + d / 64) * window + j, d % 64);
                         });
            }
            wanted_clipped += neuron.step(constants.neurons, 0, score * (std::int64_t{1} << exponent));
            const std::int64_t found =
                signed_bits([&](std::size_t s) { return bit(spikes, row(s) * blocks + j / 64, j % 64); });
            expect_same(&found, &neuron.spike, 1, "attend, score spike");
            for (std::size_t d = 0; d < depth; ++d) {
                wanted[t * depth + d] += neuron.spike * signed_bits([&](std::size_t s) {
                                             return bit(values, (row(s) * blocks + j / 64) * depth + d, j % 64);
                                         });
            }
        }
    }
    expect_same(&clipped, &wanted_clipped, 1, "attend, clipped");
    expect_same(output.data(), wanted.data(), output.size(), "attend, output");
    std::fill(output.begin(), output.end(), 7);
    kernels.mix_values(head_query);
    expect_same(output.data(), wanted.data(), output.size(), "mix_values");
    for (std::size_t row = 0; stored % 64 != 0 && row < rows; ++row) {
        expect(spikes[row * blocks + at(stored) / 64] >> (stored % 64) == 0,
               "attend: spikes of tokens that are not stored");
    }
}

// Masks that are there at all, and masks as bits.
void test_packed(Random& random, const Kernels& kernels, const Exact<std::uint8_t>& masks, int steps) {
    const std::size_t size = masks.size();
    Exact<std::int32_t> places(size + kPlacesBehind, random.number(0, 15));
    Exact<std::uint8_t> kept(size + kPlacesBehind, random.number(0, 63));
    Numbers wanted_places, wanted_kept;
    for (std::size_t i = 0; i < size; ++i) {
        if (!masks[i]) continue;
        wanted_places.push_back(static_cast<std::int64_t>(i));
        wanted_kept.push_back(masks[i]);
    }
    const int count = kernels.collect_masks(masks.data(), static_cast<int>(size), places.data(), kept.data());
    expect(at(count) == wanted_places.size(), "collect_masks: another number of masks");
    expect_same(places.data(), wanted_places.data(), at(count), "collect_masks, places");
    expect_same(kept.data(), wanted_kept.data(), at(count), "collect_masks, masks");

    const std::size_t some = std::min<std::size_t>(64, size), stride = at(random.number(1, 3));
    Exact<std::uint64_t> words(at(steps - 1) * stride + 1, random.number(0, 7));
    std::vector<std::uint64_t> wanted(words.size());
    for (std::size_t i = 0; i < words.size(); ++i) words[i] = wanted[i] = random.word();
    for (std::size_t t = 0; t < at(steps); ++t) {
        wanted[t * stride] = 0;
        for (std::size_t i = 0; i < some; ++i) wanted[t * stride] |= std::uint64_t{(masks[i] >> t) & 1u} << i;
    }
    kernels.pack_bits(masks.data(), static_cast<int>(some), steps, words.data(), stride);
    expect_same(words.data(), wanted.data(), words.size(), "pack_bits");
}

void test_masks(Random& random, const Kernels& kernels) {
    const std::size_t size = at(random.number(0, 200));
    Exact<std::uint8_t> masks(size, random.number(0, 7));
    for (std::uint8_t& mask : masks) mask = static_cast<std::uint8_t>(random.one_of({0, 255, random.number(0, 255)}));
    const int steps = random.number(1, kMaximalSteps);
    Exact<std::int32_t> counts(at(steps), random.number(0, 3));
    Numbers wanted(at(steps), 0);
    std::fill(counts.begin(), counts.end(), 7);
    for (const std::uint8_t mask : masks) {
        for (std::size_t t = 0; t < wanted.size(); ++t) wanted[t] += (mask >> t) & 1;
    }
    kernels.count_masks(masks.data(), size, steps, counts.data());
    expect_same(counts.data(), wanted.data(), wanted.size(), "count_masks");

    Exact<std::int32_t> values(at(steps) * size, random.number(0, 15));
    for (std::int32_t& value : values) value = random.one_of({0, 0, 1, -1, 256, INT32_MIN});
    Numbers wanted_marks(size, 0);
    for (std::size_t i = 0; i < values.size(); ++i)
        wanted_marks[i % size] |= std::int64_t{values[i] != 0} << (i / size);
    kernels.mark_nonzero(values.data(), size, steps, masks.data());
    expect_same(masks.data(), wanted_marks.data(), size, "mark_nonzero");

    const int step = random.number(0, kMaximalSteps - 1), position = random.number(0, 63);
    Exact<std::uint64_t> words(size, random.number(0, 7));
    std::vector<std::uint64_t> wanted_words(size);
    for (std::size_t i = 0; i < size; ++i) {
        words[i] = random.word();
        const std::uint64_t one = std::uint64_t{1} << position;
        wanted_words[i] = (masks[i] >> step) & 1 ? words[i] | one : words[i] & ~one;
    }
    kernels.set_bits(masks.data(), size, step, position, words.data());
    expect_same(words.data(), wanted_words.data(), size, "set_bits");
    test_packed(random, kernels, masks, steps);

    if (size == 0) return;
    const int first = random.number(0, 64 * static_cast<int>(size) - 1);
    const int last = random.number(first + 1, 64 * static_cast<int>(size));
    std::int64_t wanted_bits = 0;
    for (int i = first; i < last; ++i) wanted_bits += bit(words, at(i / 64), at(i % 64));
    const std::int64_t bits = kernels.count_bits(words.data(), first, last);
    expect_same(&bits, &wanted_bits, 1, "count_bits");
}

}  // namespace

void test_kernels(Random& random, const Kernels& kernels) {
    test_add_rows(random, kernels);
    test_multiply(random, kernels);
    test_run_neurons(random, kernels);
    test_attend(random, kernels);
    test_masks(random, kernels);
    test_stream_kernels(random, kernels);
}

}  // namespace bispik::test
