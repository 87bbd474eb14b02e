// The whole engine on random networks, against the plain definition: every table, one to three threads, several
// sequences at once, in runs of any length.
#include <algorithm>
#include <map>
#include <memory>
#include <span>

#include "check.hpp"
#include "engine.hpp"
#include "paths.hpp"
#include "plain.hpp"
#include "random_network.hpp"
#include "tests.hpp"

namespace bispik::test {
namespace {

std::size_t at(int index) { return static_cast<std::size_t>(index); }

// Tokens of several sequences in the order in which they are run, cut into calls of the engine.
struct Feed {
    std::vector<int> sequence;      // by token
    std::vector<std::int64_t> ids;  // by token
    std::vector<std::size_t> ends;  // of the calls
    int sequences;

    Feed(Random& random, int longest, int the_sequences, int vocabulary) : sequences(the_sequences) {
        std::vector<int> left;
        for (int s = 0; s < sequences; ++s) left.push_back(s == 0 ? longest : random.number(0, longest));
        for (int last = 0; std::any_of(left.begin(), left.end(), [](int count) { return count > 0; });) {
            if (random.chance(.3)) last = random.number(0, sequences - 1);
            if (left[at(last)] == 0) {
                last = (last + 1) % sequences;
                continue;
            }
            --left[at(last)];
            sequence.push_back(last);
            ids.push_back(vocabulary ? random.number(0, vocabulary - 1) : 0);
            if (random.chance(.05)) ends.push_back(sequence.size());
        }
        if (ends.empty() || ends.back() != sequence.size()) ends.push_back(sequence.size());
    }
};

// The readout is the last node of a random network.
int readout_of(const Network& network) { return static_cast<int>(network.nodes.size()) - 1; }

Counting random_counting(Random& random, const Network& network) {
    Counting counting;
    const auto part = [&](int size) {
        const int start = random.number(0, size - 1);
        return std::pair{start, random.number(start + 1, size)};
    };
    for (int index = 0; index < readout_of(network); ++index) {
        const Node& node = network.nodes[at(index)];
        const auto [start, stop] = part(node.size);
        std::vector<int> nodes{index};
        for (int other = 0; other < index; ++other) {
            if (network.nodes[at(other)].size >= stop && random.chance(.2)) nodes.push_back(other);
        }
        counting.segments.push_back({nodes, start, stop});
        if (node.kind != Kind::attention) continue;
        const auto [first, last] = part(network.window);
        counting.scores.push_back({index, random.number(0, node.heads - 1), first, last});
        counting.partials.push_back({index, start, stop, first, last});
    }
    return counting;
}

// Counts of one token: [segments, scores, partials][steps].
Numbers plain_counts(const Network& network, const Counting& counting, const PlainSequence& sequence,
                     std::size_t position) {
    const PlainToken& token = sequence.tokens[position];
    const std::size_t steps = at(network.steps);
    Numbers counts;
    for (const Segment& segment : counting.segments) {
        for (std::size_t t = 0; t < steps; ++t) {
            counts.push_back(0);
            for (std::size_t j = at(segment.start); j < at(segment.stop); ++j) {
                counts.back() += std::any_of(segment.nodes.begin(), segment.nodes.end(),
                                             [&](int node) { return token.outputs[at(node)][t][j] != 0; });
            }
        }
    }
    for (const ScoreSegment& segment : counting.scores) {
        for (std::size_t t = 0; t < steps; ++t) {
            const Numbers& spikes = token.scores.at(segment.node)[t][at(segment.head)];
            counts.push_back(0);
            for (std::size_t j = at(segment.first); j < std::min(at(segment.last), position + 1); ++j) {
                counts.back() += spikes[j] != 0;
            }
        }
    }
    for (const PartialSegment& segment : counting.partials) {
        const Node& node = network.nodes[at(segment.node)];
        for (std::size_t t = 0; t < steps; ++t) {
            counts.push_back(0);
            for (std::size_t d = at(segment.start); d < at(segment.stop); ++d) {
                const Numbers& spikes = token.scores.at(segment.node)[t][d / at(node.head_dim)];
                std::int64_t sum = 0;
                for (std::size_t j = at(segment.first); j < std::min(at(segment.last), position + 1); ++j) {
                    sum += spikes[j] * sequence.tokens[j].outputs[at(node.inputs[2].source)][t][d];
                }
                counts.back() += sum != 0;
            }
        }
    }
    return counts;
}

// What the engine writes for some tokens, each array exactly as large as it must be.
struct Written {
    std::map<int, Exact<std::int16_t>> outputs;
    std::map<int, Exact<std::int8_t>> scores;
    std::map<int, Exact<std::int32_t>> membranes;
    Exact<std::int64_t> accumulators;
    Exact<std::int32_t> sums, counts;
    Record record;
    Results results;

    Written(const RandomNetwork& made, const Counting& counting, std::size_t tokens, std::size_t stride,
            std::int64_t* clipped) {
        const Network& network = made.network;
        const std::size_t rows = tokens * at(network.steps);
        record.score_stride = stride;
        for (int index = 0; index < readout_of(network); ++index) {
            const Node& node = network.nodes[at(index)];
            if (made.recordable(index)) outputs[index] = {rows * at(node.size), 0};
            if (node.kind == Kind::population) membranes[index] = {rows * at(node.size), 0};
            if (node.kind == Kind::attention) scores[index] = {rows * at(node.heads) * stride, 0};
        }
        for (auto& [index, array] : outputs) record.outputs[index] = array.data();
        for (auto& [index, array] : membranes) record.membranes[index] = array.data();
        for (auto& [index, array] : scores) record.scores[index] = array.data();
        const Node& readout = network.nodes.back();
        accumulators = {tokens * at(readout.size), 0};
        sums = {tokens * at(network.nodes[at(readout.inputs[0].source)].size), 0};
        counts = {rows * (counting.segments.size() + counting.scores.size() + counting.partials.size()), 0};
        results = {accumulators.data(), sums.data(), clipped, counts.data()};
    }

    void expect_row(std::size_t row, const PlainToken& token, const Numbers& wanted_counts,
                    const std::string& where) const {
        const auto compare = [&](const auto& array, const Numbers& wanted, std::size_t index, const std::string& what) {
            expect_same(array.data() + index * wanted.size(), wanted.data(), wanted.size(), where + what);
        };
        const auto by_step = [&](const auto& arrays, const auto& wanted, const char* what) {
            for (const auto& [node, array] : arrays) {
                const auto& steps = wanted[at(node)];
                for (std::size_t t = 0; t < steps.size(); ++t) {
                    compare(array, steps[t], row * steps.size() + t, what + std::to_string(node));
                }
            }
        };
        by_step(outputs, token.outputs, "outputs of node ");
        by_step(membranes, token.membranes, "membranes of node ");
        for (const auto& [node, array] : scores) {
            const auto& steps = token.scores.at(node);
            for (std::size_t t = 0; t < steps.size(); ++t) {
                for (std::size_t head = 0; head < steps[t].size(); ++head) {
                    Numbers wanted = steps[t][head];
                    wanted.resize(record.score_stride, 0);
                    compare(array, wanted, (row * steps.size() + t) * steps[t].size() + head,
                            "scores of node " + std::to_string(node));
                }
            }
        }
        compare(sums, token.readout_sums, row, "readout's sums");
        compare(accumulators, token.accumulators, row, "accumulators");
        compare(counts, wanted_counts, row, "counts");
    }
};

// Spikes for a node of kind `given`, of all tokens.
struct GivenSpikes {
    Exact<std::uint8_t> plus, minus;
    std::size_t size;

    GivenSpikes(Random& random, const Node& node, std::size_t tokens) : size(at(node.size)) {
        plus = {tokens * size, random.number(0, 15)};
        minus = {node.form.negative ? tokens * size : 0, random.number(0, 15)};
        const int rate = random.one_of({0, 10, 50, 100});
        for (std::uint8_t& mask : plus)
            mask = static_cast<std::uint8_t>(random.number(0, 99) < rate ? random.number(0, 255) : 0);
        for (std::size_t i = 0; i < minus.size(); ++i)
            minus[i] = static_cast<std::uint8_t>(random.number(0, 255) & ~plus[i]);
    }

    std::vector<Numbers> plain(const Network& network, std::size_t token) const {
        std::vector<Numbers> steps(at(network.steps), Numbers(size, 0));
        for (std::size_t t = 0; t < steps.size(); ++t) {
            for (std::size_t j = 0; j < size; ++j) {
                steps[t][j] = (plus[token * size + j] >> t) & 1;
                if (minus.size() != 0) steps[t][j] -= (minus[token * size + j] >> t) & 1;
            }
        }
        return steps;
    }
};

struct Case {
    RandomNetwork made;
    Feed feed;
    Counting counting;
    std::unique_ptr<GivenSpikes> given;
    std::vector<PlainSequence> plain;
    Numbers clipped;
    std::vector<std::size_t> positions;  // by token of the feed

    Case(Random& random, int longest, int sequences, int steps, int largest_size)
        : made(random, longest, steps, largest_size),
          feed(random, longest, sequences, made.vocabulary),
          counting(random_counting(random, made.network)),
          plain(at(sequences), PlainSequence(made.network)),
          clipped(made.network.nodes.size(), 0) {
        std::vector<std::vector<Numbers>> spikes(made.network.nodes.size());
        if (!made.vocabulary) given = std::make_unique<GivenSpikes>(random, made.network.nodes[0], feed.ids.size());
        for (std::size_t i = 0; i < feed.ids.size(); ++i) {
            PlainSequence& sequence = plain[at(feed.sequence[i])];
            positions.push_back(sequence.tokens.size());
            if (given) spikes[0] = given->plain(made.network, i);
            sequence.run(feed.ids[i], spikes);
        }
        for (const PlainSequence& sequence : plain) {
            for (std::size_t node = 0; node < clipped.size(); ++node) clipped[node] += sequence.clipped[node];
        }
    }

    void expect_equal(const Path& path, int threads) const {
        const Network& network = made.network;
        const std::string where = path.name + ", " + std::to_string(threads) + " threads: ";
        std::vector<Sequence> sequences(plain.size(), Sequence(network));
        Engine engine(network, path.kernels(), threads);
        Numbers found_clipped(network.nodes.size(), 0);
        std::size_t first = 0;
        for (const std::size_t end : feed.ends) {
            std::vector<Place> places;
            std::vector<Given> masks;
            for (std::size_t i = first; i < end; ++i) {
                places.push_back({&sequences[at(feed.sequence[i])], static_cast<int>(positions[i]), feed.ids[i]});
            }
            if (given) {
                const std::size_t offset = first * given->size;
                masks.push_back(
                    {0, given->plus.data() + offset, given->minus.size() ? given->minus.data() + offset : nullptr});
            }
            Written written(made, counting, places.size(), at(network.window), found_clipped.data());
            engine.run(places, masks, written.record, written.results, counting, [] {});
            for (std::size_t i = first; i < end; ++i) {
                const PlainSequence& sequence = plain[at(feed.sequence[i])];
                written.expect_row(i - first, sequence.tokens[positions[i]],
                                   plain_counts(network, counting, sequence, positions[i]), where);
            }
            first = end;
        }
        expect_same(found_clipped.data(), clipped.data(), clipped.size(), where + "clipped");
    }
};

}  // namespace

void test_engine(Random& random) {
    const int steps = random.number(1, kMaximalSteps);
    // Short sequences of larger networks, and long ones of small networks.
    const bool longer = random.chance(.3);
    const int tokens = longer ? random.one_of({63, 64, 65, 129, random.number(1, 140)}) : random.number(1, 12);
    const Case one(random, tokens, random.number(1, longer ? 2 : 3), steps, longer ? 9 : random.one_of({20, 64, 70}));
    for (const Path& path : built_paths()) {
        for (int threads = 1; path.available && threads <= 3; ++threads) one.expect_equal(path, threads);
    }
}

}  // namespace bispik::test
