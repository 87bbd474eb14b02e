// What Python sees of stream networks. Weights of dense synapses are kept alive as long as the network: they may be
// mapped from a file. Everything else is copied.
#include <nanobind/stl/array.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "module.hpp"
#include "paths.hpp"
#include "stream.hpp"
#include "stream_count_module.hpp"

namespace bispik {
namespace {

constexpr int kMostShift = 31;  // of 32 bits

struct StreamNeuronArguments {
    StreamReset reset;
    bool spiking, wide;
    Array<std::int32_t, 1> current_decay, decay, threshold, subtract, bias, initial, initial_current;
};

StreamReset reset_named(const std::string& name) {
    if (name == "hard") return StreamReset::hard;
    if (name == "soft") return StreamReset::soft;
    expect(name == "none", "a reset is hard, soft or none");
    return StreamReset::none;
}

// 4096 - decay.
std::vector<std::int32_t> kept(const Array<std::int32_t, 1>& decays) {
    std::vector<std::int32_t> shares;
    for (std::size_t i = 0; i < decays.shape(0); ++i) {
        expect(0 <= decays.data()[i] && decays.data()[i] <= 4096, "a decay is 0 to 4096");
        shares.push_back(4096 - decays.data()[i]);
    }
    return shares;
}

struct Place {
    int target, source, exponent, delay;
};

using Pair = std::array<int, 2>;
using Map = std::array<int, 3>;

// Populations first, then their synapses.
class StreamBuilder {
 public:
    StreamBuilder(int input_size, bool graded) : network_{input_size, graded, {}} {
        expect(input_size >= 1, "an input without channels");
    }

    int population(const StreamNeuronArguments& neurons) {
        expect(!finished_, "a network that is in use already");
        const std::size_t size = neurons.threshold.shape(0);
        expect(1 <= size && size <= std::numeric_limits<std::int32_t>::max(), "a population without neurons");
        for (const auto* constants : {&neurons.current_decay, &neurons.decay, &neurons.subtract, &neurons.bias,
                                      &neurons.initial, &neurons.initial_current}) {
            expect(constants->shape(0) == size, "constants of different sizes");
        }
        StreamPopulation made;
        made.current_keep = kept(neurons.current_decay);
        made.keep = kept(neurons.decay);
        made.threshold = copied(neurons.threshold);
        made.subtract = copied(neurons.subtract);
        made.bias = copied(neurons.bias);
        made.initial = copied(neurons.initial);
        made.initial_current = copied(neurons.initial_current);
        made.reset = neurons.reset;
        made.spiking = neurons.spiking;
        made.wide = neurons.wide;
        network_.populations.push_back(std::move(made));
        return static_cast<int>(network_.populations.size());
    }

    void dense(const Place& place, Array<std::int8_t, 2> weights) {
        expect_sizes(place, weights.shape(0), weights.shape(1));
        kept_.push_back(nb::ndarray<nb::ro>(weights));
        add(place, static_cast<double>(weights.shape(0)), DenseSynapses{weights.data()});
    }

    void one_to_one(const Place& place, Array<std::int8_t, 1> weights) {
        expect_sizes(place, weights.shape(0), weights.shape(0));
        kept_.push_back(nb::ndarray<nb::ro>(weights));
        add(place, 1, PairedSynapses{weights.data()});
    }

    void sparse(const Place& place, Array<std::int64_t, 1> starts, Array<std::int32_t, 1> sources,
                Array<std::int8_t, 1> weights) {
        expect(starts.shape(0) >= 1, "rows without a start");
        expect_sizes(place, static_cast<std::size_t>(network_.size(place.source)), starts.shape(0) - 1);
        const std::size_t synapses = sources.shape(0);
        expect(weights.shape(0) == synapses, "one weight per synapse");
        expect(starts.data()[0] == 0 && starts.data()[starts.shape(0) - 1] == static_cast<std::int64_t>(synapses) &&
                   std::is_sorted(starts.data(), starts.data() + starts.shape(0)),
               "rows that do not hold every synapse once");
        const int from = network_.size(place.source);
        for (std::size_t i = 0; i < synapses; ++i) {
            expect(0 <= sources.data()[i] && sources.data()[i] < from, "a synapse from a neuron that is not there");
        }
        add(place, static_cast<double>(synapses) / static_cast<double>(starts.shape(0) - 1),
            ColumnSynapses({starts.data(), starts.shape(0)}, {sources.data(), synapses}, weights.data(), from));
    }

    void convolution(const Place& place, Array<std::int8_t, 4> weights, const Map& source, const Map& target,
                     const Pair& stride, const Pair& padding, const Pair& dilation, int groups) {
        Geometry geometry{};
        for (std::size_t i = 0; i < 3; ++i) {
            expect(source[i] >= 1 && target[i] >= 1, "a map without places");
            geometry.source[i] = source[i];
            geometry.target[i] = target[i];
        }
        for (std::size_t i = 0; i < 2; ++i) {
            expect(stride[i] >= 1 && dilation[i] >= 1 && padding[i] >= 0, "an impossible stride, dilation or padding");
            geometry.kernel[i] = static_cast<int>(weights.shape(i + 2));
            geometry.stride[i] = stride[i];
            geometry.padding[i] = padding[i];
            geometry.dilation[i] = dilation[i];
        }
        geometry.groups = groups;
        expect(groups >= 1 && source[0] % groups == 0 && target[0] % groups == 0, "groups of different sizes");
        expect(weights.size() <= std::numeric_limits<std::int32_t>::max(), "a kernel of more than 2^31 weights");
        expect(weights.shape(0) == static_cast<std::size_t>(target[0]) &&
                   weights.shape(1) == static_cast<std::size_t>(source[0] / groups) && weights.size() > 0,
               "weights of another shape");
        expect_sizes(place, count_of(source), count_of(target));
        add(place, static_cast<double>(weights.size()) / target[0], ConvolutionSynapses(geometry, weights.data()));
    }

    // The network, which nothing is added to from now on.
    const StreamNetwork& finished() {
        if (!finished_) {
            for (StreamPopulation& population : network_.populations) population.arrange();
        }
        finished_ = true;
        return network_;
    }

 private:
    static std::size_t count_of(const Map& map) {
        std::size_t count = 1;
        for (const int size : map) {
            count *= static_cast<std::size_t>(size);
            expect(count <= std::numeric_limits<std::int32_t>::max(), "a map of more than 2^31 places");
        }
        return count;
    }

    void expect_sizes(const Place& place, std::size_t sources, std::size_t neurons) const {
        const int count = static_cast<int>(network_.populations.size());
        expect(!finished_, "a network that is in use already");
        expect(1 <= place.target && place.target <= count, "a population that is not there");
        expect(0 <= place.source && place.source <= count, "a source that is not there");
        expect(static_cast<std::size_t>(network_.size(place.source)) == sources &&
                   static_cast<std::size_t>(network_.size(place.target)) == neurons,
               "weights of another shape");
        expect(0 <= place.exponent && place.exponent <= kMostShift, "an exponent is 0 to 31");
        expect(place.delay >= (place.source >= place.target ? 1 : 0),
               "a delay below 0, or below 1 from a population that does not come before");
    }

    template <typename Wiring>
    void add(const Place& place, double fan_in, Wiring wiring) {
        StreamPopulation& population = network_.populations[static_cast<std::size_t>(place.target) - 1];
        population.inputs.push_back({place.source, place.delay, place.exponent, fan_in, std::move(wiring)});
    }

    StreamNetwork network_;
    bool finished_ = false;
    std::vector<nb::ndarray<nb::ro>> kept_;
};

class StreamRunner {
 public:
    StreamRunner(StreamBuilder& builder, const std::string& path, int threads, const StreamCounting* counting)
        : network_(checked(builder.finished(), counting)),
          counting_(counting),
          engine_(network_, kernels_named(path), threads, counting) {}

    void run(Array<std::int32_t, 2> values, const std::vector<std::optional<Target<std::int32_t, 2>>>& sent,
             const std::vector<std::optional<Target<std::int32_t, 2>>>& membranes, Target<std::int64_t, 1> clipped,
             const TallyArrays* tally) {
        const Running until_the_end(running_);
        const std::size_t count = network_.populations.size(), steps = values.shape(0);
        expect(values.shape(1) == static_cast<std::size_t>(network_.input_size), "an input of another size");
        expect(sent.size() == count && membranes.size() == count && clipped.shape(0) == count,
               "one array per population");
        expect((tally != nullptr) == (counting_ != nullptr), "an engine that counts takes a tally, others none");
        StreamRecord record{{}, {}, clipped.data()};
        const auto checked = [&](const std::optional<Target<std::int32_t, 2>>& array, std::size_t index) {
            if (!array) return static_cast<std::int32_t*>(nullptr);
            expect(array->shape(0) == steps &&
                       array->shape(1) == static_cast<std::size_t>(network_.populations[index].size()),
                   "outputs of another shape");
            return array->data();
        };
        for (std::size_t index = 0; index < count; ++index) {
            expect(counting_ || sent[index], "what an engine sends that does not count is recorded");
            record.sent.push_back(checked(sent[index], index));
            record.membranes.push_back(checked(membranes[index], index));
        }
        if (tally) record.tally = tally->checked(network_, *counting_, steps);
        nb::gil_scoped_release released;
        engine_.run(values.data(), static_cast<std::int64_t>(steps), record, check_signals);
    }

    std::int64_t position() const { return engine_.position(); }
    std::string path() const { return engine_.kernels().name; }

 private:
    static const StreamNetwork& checked(const StreamNetwork& network, const StreamCounting* counting) {
        if (counting) expect_counted(network, *counting);
        return network;
    }

    std::atomic_flag running_ = ATOMIC_FLAG_INIT;
    const StreamNetwork& network_;
    const StreamCounting* const counting_;
    StreamEngine engine_;
};

}  // namespace

void bind_streams(nb::module_& m) {
    nb::class_<StreamNeuronArguments>(m, "StreamNeurons")
        .def(
            "__init__",
            [](StreamNeuronArguments* self, const std::string& reset, bool spiking, bool wide,
               Array<std::int32_t, 1> current_decay, Array<std::int32_t, 1> decay, Array<std::int32_t, 1> threshold,
               Array<std::int32_t, 1> subtract, Array<std::int32_t, 1> bias, Array<std::int32_t, 1> initial,
               Array<std::int32_t, 1> initial_current) {
                new (self) StreamNeuronArguments{reset_named(reset), spiking,  wide, current_decay, decay,
                                                 threshold,          subtract, bias, initial,       initial_current};
            },
            nb::kw_only(), nb::arg("reset"), nb::arg("spiking"), nb::arg("wide"), nb::arg("current_decay"),
            nb::arg("decay"), nb::arg("threshold"), nb::arg("subtract"), nb::arg("bias"), nb::arg("initial"),
            nb::arg("initial_current"));
    nb::class_<Place>(m, "StreamPlace")
        .def(nb::init<int, int, int, int>(), nb::kw_only(), nb::arg("target"), nb::arg("source"), nb::arg("exponent"),
             nb::arg("delay"));
    nb::class_<StreamBuilder>(m, "StreamNetwork")
        .def(nb::init<int, bool>(), nb::kw_only(), nb::arg("input_size"), nb::arg("graded"))
        .def("population", &StreamBuilder::population, nb::arg("neurons"))
        .def("dense", &StreamBuilder::dense, nb::arg("place"), nb::arg("weights"))
        .def("one_to_one", &StreamBuilder::one_to_one, nb::arg("place"), nb::arg("weights"))
        .def("sparse", &StreamBuilder::sparse, nb::arg("place"), nb::arg("starts"), nb::arg("sources"),
             nb::arg("weights"))
        .def("convolution", &StreamBuilder::convolution, nb::arg("place"), nb::arg("weights"), nb::kw_only(),
             nb::arg("source"), nb::arg("target"), nb::arg("stride"), nb::arg("padding"), nb::arg("dilation"),
             nb::arg("groups"));
    nb::class_<StreamRunner>(m, "StreamEngine")
        .def(nb::init<StreamBuilder&, const std::string&, int, const StreamCounting*>(), nb::arg("network"),
             nb::kw_only(), nb::arg("path"), nb::arg("threads"), nb::arg("counting") = nb::none(),
             nb::keep_alive<1, 2>(), nb::keep_alive<1, 5>())
        .def_prop_ro("path", &StreamRunner::path)
        .def_prop_ro("position", &StreamRunner::position)
        .def("run", &StreamRunner::run, nb::arg("values").noconvert(), nb::kw_only(), nb::arg("sent").noconvert(),
             nb::arg("membranes").noconvert(), nb::arg("clipped").noconvert(), nb::arg("tally") = nb::none());
}

}  // namespace bispik
