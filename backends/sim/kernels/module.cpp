// What Python sees of the engine. Arrays that are handed over are kept alive as long as the network: weights may be
// mapped from a file.
#include "module.hpp"

#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "engine.hpp"
#include "paths.hpp"

namespace bispik {
namespace {

using AnyWeights = nb::ndarray<const std::int8_t, nb::c_contig, nb::device::cpu>;

struct NeuronArguments {
    int decay;
    bool hard, ternary, small, wide;
    Array<std::int32_t, 1> threshold, subtract, bias;
};

// Builds a Network node by node; each method returns the node's index.
class Builder {
 public:
    Builder(int steps, int window) {
        expect(1 <= steps && steps <= kMaximalSteps, "a token has 1 to 8 steps");
        expect(window >= 1, "the window holds at least one token");
        network.steps = steps;
        network.window = window;
    }

    int given(int size, bool negative) {
        Node node(Kind::given, size);
        node.form = {false, negative, 1};
        return add(std::move(node));
    }

    int injection(Array<std::int16_t, 2> tokens, Array<std::int16_t, 2> positions, std::vector<std::int32_t> gains) {
        expect(tokens.shape(1) == positions.shape(1), "tables of different widths");
        expect(gains.size() == static_cast<std::size_t>(network.steps), "one gain per step");
        expect(positions.shape(0) >= static_cast<std::size_t>(network.window), "fewer positions than the window");
        Node node(Kind::injection, static_cast<int>(tokens.shape(1)));
        node.form = {true, true, std::int64_t{1} << 30};
        node.tokens = tokens.data();
        node.positions = positions.data();
        node.gains = std::move(gains);
        vocabulary = static_cast<std::int64_t>(tokens.shape(0));
        keep(tokens);
        keep(positions);
        return add(std::move(node));
    }

    int population(const std::vector<std::tuple<int, std::optional<AnyWeights>, int>>& inputs,
                   const NeuronArguments& neurons) {
        Node node(Kind::population, static_cast<int>(neurons.threshold.shape(0)));
        node.form = {false, neurons.ternary, 1};
        for (const auto& [source, weights, exponent] : inputs) {
            const std::size_t from = static_cast<std::size_t>(at(source).size),
                              size = static_cast<std::size_t>(node.size);
            if (!weights) {
                expect(from == size, "one-to-one synapses between different sizes");
                node.inputs.push_back({source, Wiring::direct, nullptr, exponent});
                continue;
            }
            const bool dense = weights->ndim() == 2;
            expect(dense ? weights->shape(0) == from && weights->shape(1) == size
                         : weights->ndim() == 1 && weights->shape(0) == size && from == size,
                   "weights of another shape");
            keep(*weights);
            node.inputs.push_back({source, dense ? Wiring::dense : Wiring::weighted, weights->data(), exponent});
        }
        set_neurons(node, neurons);
        return add(std::move(node));
    }

    int join(const std::vector<std::pair<int, int>>& inputs, std::int64_t magnitude, bool negative) {
        expect(!inputs.empty(), "a join of nothing");
        Node node(Kind::join, at(inputs[0].first).size);
        node.form = {true, negative, magnitude};
        for (const auto& [source, exponent] : inputs) {
            expect(at(source).size == node.size, "inputs of different sizes");
            node.inputs.push_back({source, Wiring::direct, nullptr, exponent});
        }
        return add(std::move(node));
    }

    int norm(int source, int fraction_bits, int root_bits, std::int64_t epsilon, std::int64_t magnitude) {
        Node node(Kind::norm, at(source).size);
        node.form = {true, true, magnitude};
        node.inputs.push_back({source, Wiring::direct, nullptr, 0});
        node.fraction_bits = fraction_bits;
        node.root_bits = root_bits;
        node.epsilon = epsilon;
        return add(std::move(node));
    }

    int attention(std::tuple<int, int, int> sources, int heads, int exponent, const NeuronArguments& neurons,
                  std::int64_t magnitude, bool negative) {
        const auto [query, key, value] = sources;
        Node node(Kind::attention, at(query).size);
        expect(at(key).size == node.size && at(value).size == node.size, "query, key and value of different sizes");
        expect(heads >= 1 && node.size % heads == 0, "heads of different sizes");
        expect(neurons.threshold.shape(0) == static_cast<std::size_t>(heads), "one set of constants per head");
        for (const int source : {query, key, value}) {
            expect(!at(source).form.graded, "query, key and value are spikes");
            node.inputs.push_back({source, Wiring::direct, nullptr, 0});
        }
        node.form = {true, negative, magnitude};
        node.heads = heads;
        node.head_dim = node.size / heads;
        node.exponent = exponent;
        node.cache = network.attentions++;
        set_neurons(node, neurons);
        return add(std::move(node));
    }

    int readout(int source, Array<std::int8_t, 2> weights) {
        expect(weights.shape(0) == static_cast<std::size_t>(at(source).size), "weights of another shape");
        Node node(Kind::readout, static_cast<int>(weights.shape(1)));
        node.form = {true, true, std::int64_t{1} << 30};
        node.inputs.push_back({source, Wiring::dense, weights.data(), 0});
        keep(weights);
        return add(std::move(node));
    }

    Network network;
    bool frozen = false;           // an engine or a sequence has been made of it
    std::int64_t vocabulary = -1;  // without an injection any id will do

 private:
    template <typename Kept>
    void keep(const Kept& array) {
        kept_.push_back(nb::ndarray<nb::ro>(array));
    }

    const Node& at(int index) const {
        expect(0 <= index && static_cast<std::size_t>(index) < network.nodes.size(), "a source that is not there");
        return network.nodes[static_cast<std::size_t>(index)];
    }

    static void set_neurons(Node& node, const NeuronArguments& neurons) {
        const std::size_t count = neurons.threshold.shape(0);
        expect(neurons.subtract.shape(0) == count && neurons.bias.shape(0) == count, "constants of different sizes");
        node.neurons = {
            neurons.decay,       neurons.hard, neurons.ternary, copied(neurons.threshold), copied(neurons.subtract),
            copied(neurons.bias)};
        node.small = neurons.small;
        node.wide = neurons.wide;
    }

    int add(Node node) {
        expect(!frozen, "a network that is in use already");
        expect(node.size >= 1, "a node without channels");
        network.nodes.push_back(std::move(node));
        return static_cast<int>(network.nodes.size()) - 1;
    }

    std::vector<nb::ndarray<nb::ro>> kept_;
};

template <typename Value, int kAxes>
std::map<int, Value*> pointers(const std::vector<std::pair<int, Target<Value, kAxes>>>& arrays, std::size_t tokens) {
    std::map<int, Value*> found;
    for (const auto& [node, array] : arrays) {
        expect(array.shape(0) == tokens, "an array of another number of tokens");
        found[node] = array.data();
    }
    return found;
}

using Feed = std::vector<std::pair<Sequence*, Array<std::int64_t, 1>>>;

// Counts `segments` of nodes, of scores and of partial sums; see engine.hpp.
Counting counting_of(const std::vector<std::tuple<std::vector<int>, int, int>>& segments,
                     const std::vector<std::tuple<int, int, int, int>>& scores,
                     const std::vector<std::tuple<int, int, int, int, int>>& partials) {
    Counting counting;
    for (const auto& [nodes, start, stop] : segments) {
        expect(!nodes.empty() && 0 <= start && start <= stop, "an impossible segment");
        counting.segments.push_back({nodes, start, stop});
    }
    for (const auto& [node, head, first, last] : scores) counting.scores.push_back({node, head, first, last});
    for (const auto& [node, start, stop, first, last] : partials)
        counting.partials.push_back({node, start, stop, first, last});
    return counting;
}

class Runner {
 public:
    Runner(Builder& builder, const std::string& path, int threads)
        : builder_(builder), engine_(builder.network, kernels_named(path), checked(threads)) {
        builder.frozen = true;
    }

    void run(const Feed& feed, const std::vector<std::pair<int, Array<std::uint8_t, 3>>>& given,
             const std::vector<std::pair<int, Target<std::int16_t, 3>>>& outputs,
             const std::vector<std::pair<int, Target<std::int8_t, 4>>>& scores,
             const std::vector<std::pair<int, Target<std::int32_t, 3>>>& membranes,
             std::optional<Target<std::int64_t, 2>> accumulators, std::optional<Target<std::int32_t, 2>> readout_sums,
             Target<std::int64_t, 1> clipped, const Counting* counting, std::optional<Target<std::int32_t, 3>> counts) {
        const Running until_the_end(running_);
        std::vector<Place> places;
        std::set<const Sequence*> seen;
        for (const auto& [sequence, ids] : feed) {
            expect(sequence && sequence->network == &builder_.network, "a sequence of another network");
            expect(seen.insert(sequence).second, "a sequence twice");
            for (std::size_t i = 0; i < ids.shape(0); ++i) {
                const int position = sequence->position + static_cast<int>(i);
                expect(position < builder_.network.window, "more tokens than the window has room for");
                expect(builder_.vocabulary < 0 || (0 <= ids.data()[i] && ids.data()[i] < builder_.vocabulary),
                       "a token outside the vocabulary");
                places.push_back({sequence, position, ids.data()[i]});
            }
        }
        std::vector<Given> spikes;
        for (const auto& [node, masks] : given) {
            expect(builder_.network.nodes.at(static_cast<std::size_t>(node)).kind == Kind::given,
                   "spikes for a node that makes its own");
            const Node& target = builder_.network.nodes[static_cast<std::size_t>(node)];
            expect(masks.shape(0) == (target.form.negative ? 2u : 1u) && masks.shape(1) == places.size() &&
                       masks.shape(2) == static_cast<std::size_t>(target.size),
                   "given spikes of another shape");
            const std::uint8_t* minus =
                target.form.negative ? masks.data() + places.size() * static_cast<std::size_t>(target.size) : nullptr;
            spikes.push_back({node, masks.data(), minus});
        }
        const std::vector<Node>& nodes = builder_.network.nodes;
        const std::size_t tokens = places.size(), steps = static_cast<std::size_t>(builder_.network.steps);
        expect(clipped.shape(0) == nodes.size(), "one number of clipped membranes per node");
        expect_shapes(outputs, steps);
        expect_shapes(membranes, steps);
        for (const auto& [node, array] : scores) {
            expect(array.shape(1) == steps && array.shape(2) == static_cast<std::size_t>(at(node).heads),
                   "scores of another shape");
            expect(array.shape(3) == scores[0].second.shape(3), "scores of different numbers of stored tokens");
            for (const Place& place : places) {
                expect(static_cast<std::size_t>(place.position) < array.shape(3),
                       "no room for the scores of all stored tokens");
            }
        }
        const Node* readout = nullptr;
        for (const Node& node : nodes) readout = node.kind == Kind::readout ? &node : readout;
        if (accumulators) {
            expect(readout && accumulators->shape(0) == tokens &&
                       accumulators->shape(1) == static_cast<std::size_t>(readout->size),
                   "accumulators of another shape");
        }
        if (readout_sums) {
            expect(readout && readout_sums->shape(0) == tokens &&
                       readout_sums->shape(1) == static_cast<std::size_t>(at(readout->inputs[0].source).size),
                   "sums of another shape");
        }
        if (counts) {
            expect(counting, "counts without saying of what");
            const std::size_t all = counting->segments.size() + counting->scores.size() + counting->partials.size();
            expect(counts->shape(0) == tokens && counts->shape(1) == all && counts->shape(2) == steps,
                   "counts of another shape");
        }
        Record record{pointers<std::int16_t, 3>(outputs, places.size()),
                      pointers<std::int8_t, 4>(scores, places.size()), scores.empty() ? 0 : scores[0].second.shape(3),
                      pointers<std::int32_t, 3>(membranes, places.size())};
        Results results{accumulators ? accumulators->data() : nullptr, readout_sums ? readout_sums->data() : nullptr,
                        clipped.data(), counts ? counts->data() : nullptr};
        const Counting none;
        nb::gil_scoped_release released;
        engine_.run(places, spikes, record, results, counting ? *counting : none, check_signals);
    }

    std::string path() const { return engine_.kernels().name; }

 private:
    static int checked(int threads) {
        expect(threads >= 1, "at least one thread");
        return threads;
    }

    const Node& at(int node) const {
        expect(0 <= node && static_cast<std::size_t>(node) < builder_.network.nodes.size(), "a node that is not there");
        return builder_.network.nodes[static_cast<std::size_t>(node)];
    }

    template <typename Value>
    void expect_shapes(const std::vector<std::pair<int, Target<Value, 3>>>& arrays, std::size_t steps) const {
        for (const auto& [node, array] : arrays) {
            expect(array.shape(1) == steps && array.shape(2) == static_cast<std::size_t>(at(node).size),
                   "outputs of another shape");
        }
    }

    std::atomic_flag running_ = ATOMIC_FLAG_INIT;
    const Builder& builder_;
    Engine engine_;
};

}  // namespace
}  // namespace bispik

NB_MODULE(_kernels, m) {
    using namespace bispik;
    bind_stream_counts(m);
    bind_streams(m);
    m.def(
        "normalise",
        [](Array<std::int32_t, 1> values, Target<std::int32_t, 1> out, int fraction_bits, int root_bits,
           std::int64_t epsilon) {
            expect(values.shape(0) == out.shape(0), "an output of another size");
            Node node(Kind::norm, static_cast<int>(values.shape(0)));
            node.fraction_bits = fraction_bits;
            node.root_bits = root_bits;
            node.epsilon = epsilon;
            normalise(node, values.data(), out.data());
        },
        nb::arg("values"), nb::arg("out"), nb::kw_only(), nb::arg("fraction_bits"), nb::arg("root_bits"),
        nb::arg("epsilon"));
    m.def("built_paths", [] {
        std::vector<std::pair<std::string, bool>> paths;
        for (const Path& path : built_paths()) paths.emplace_back(path.name, path.available);
        return paths;
    });
    nb::class_<NeuronArguments>(m, "Neurons")
        .def(
            "__init__",
            [](NeuronArguments* self, int decay, bool hard, bool ternary, bool small, bool wide,
               Array<std::int32_t, 1> threshold, Array<std::int32_t, 1> subtract, Array<std::int32_t, 1> bias) {
                new (self) NeuronArguments{decay, hard, ternary, small, wide, threshold, subtract, bias};
            },
            nb::kw_only(), nb::arg("decay"), nb::arg("hard"), nb::arg("ternary"), nb::arg("small"), nb::arg("wide"),
            nb::arg("threshold"), nb::arg("subtract"), nb::arg("bias"));
    nb::class_<Builder>(m, "Network")
        .def(nb::init<int, int>(), nb::kw_only(), nb::arg("steps"), nb::arg("window"))
        .def("given", &Builder::given, nb::arg("size"), nb::arg("negative"))
        .def("injection", &Builder::injection, nb::arg("tokens"), nb::arg("positions"), nb::arg("gains"))
        .def("population", &Builder::population, nb::arg("inputs"), nb::arg("neurons"))
        .def("join", &Builder::join, nb::arg("inputs"), nb::kw_only(), nb::arg("magnitude"), nb::arg("negative"))
        .def("norm", &Builder::norm, nb::arg("source"), nb::kw_only(), nb::arg("fraction_bits"), nb::arg("root_bits"),
             nb::arg("epsilon"), nb::arg("magnitude"))
        .def("attention", &Builder::attention, nb::arg("sources"), nb::kw_only(), nb::arg("heads"), nb::arg("exponent"),
             nb::arg("neurons"), nb::arg("magnitude"), nb::arg("negative"))
        .def("readout", &Builder::readout, nb::arg("source"), nb::arg("weights"));
    nb::class_<Sequence>(m, "Sequence")
        .def(
            "__init__",
            [](Sequence* self, Builder& builder) {
                builder.frozen = true;
                new (self) Sequence(builder.network);
            },
            nb::keep_alive<1, 2>())
        .def_ro("position", &Sequence::position);
    nb::class_<Counting>(m, "Counting")
        .def(
            "__init__",
            [](Counting* self, const std::vector<std::tuple<std::vector<int>, int, int>>& segments,
               const std::vector<std::tuple<int, int, int, int>>& scores,
               const std::vector<std::tuple<int, int, int, int, int>>& partials) {
                new (self) Counting(counting_of(segments, scores, partials));
            },
            nb::arg("segments"), nb::arg("scores"), nb::arg("partials"));
    nb::class_<Runner>(m, "Engine")
        .def(nb::init<Builder&, const std::string&, int>(), nb::arg("network"), nb::kw_only(), nb::arg("path"),
             nb::arg("threads"), nb::keep_alive<1, 2>())
        .def_prop_ro("path", &Runner::path)
        .def("run", &Runner::run, nb::arg("feed"), nb::kw_only(), nb::arg("given"), nb::arg("outputs").noconvert(),
             nb::arg("scores").noconvert(), nb::arg("membranes").noconvert(),
             nb::arg("accumulators").noconvert().none(), nb::arg("readout_sums").noconvert().none(),
             nb::arg("clipped").noconvert(), nb::arg("counting").none(), nb::arg("counts").noconvert().none());
}
