// Stream populations whose currents do not fit the kernels' 32 bits. The compiler proves that those of its programs do;
// a program made in another way may saturate everything, and must then do so exactly as the definition says.
#include <algorithm>

#include "generic_stream.hpp"
#include "stream.hpp"

namespace bispik {
namespace {

// sign(v) * ((|v| * keep) >> 12).
std::int64_t kept_of(std::int64_t value, std::int64_t keep) {
    const std::int64_t kept = ((value < 0 ? -value : value) * keep) >> generic::kDecayBits;
    return value < 0 ? -kept : kept;
}

std::int64_t inside(std::int64_t value) {
    return std::clamp<std::int64_t>(value, -generic::kMembraneMax, generic::kMembraneMax);
}

// Sums may have wrapped, as those of the definition do; unsigned numbers may.
std::int64_t added(std::int64_t one, std::uint64_t other) {
    return static_cast<std::int64_t>(static_cast<std::uint64_t>(one) + other);
}

}  // namespace

void add_events_wide(const std::int8_t* weights, std::size_t stride, const Events& events, int width,
                     std::uint64_t* sums) {
    generic::add_valued_events(weights, stride, events, width, sums);
}

void add_map_wide(const MapSynapses& map, const Events& events, int first, int width, std::uint64_t* sums) {
    generic::add_map(map, events, first, width, sums);
}

std::int64_t run_stream_wide(const StreamNeurons& neurons, int steps, int width, const std::uint64_t* currents,
                             std::size_t current_stride, std::int32_t* sent, std::int32_t* membranes,
                             std::size_t sent_stride) {
    std::int64_t clipped = 0;
    for (int t = 0; t < steps; ++t) {
        const std::size_t row = static_cast<std::size_t>(t);
        for (int j = 0; j < width; ++j) {
            const std::size_t at = row * sent_stride + static_cast<std::size_t>(j);
            const std::uint64_t arriving = currents[row * current_stride + static_cast<std::size_t>(j)];
            const std::int64_t current = inside(added(kept_of(neurons.current[j], neurons.current_keep[j]), arriving));
            std::int64_t next = kept_of(neurons.membrane[j], neurons.keep[j]) + current + neurons.bias[j];
            if (neurons.soft && neurons.spike[j]) next -= neurons.subtract[j];
            const std::int64_t membrane = inside(next);
            clipped += membrane != next;
            const bool spike = neurons.spiking && membrane > neurons.threshold[j];
            neurons.current[j] = static_cast<std::int32_t>(current);
            neurons.spike[j] = spike;
            neurons.membrane[j] = neurons.hard && spike ? 0 : static_cast<std::int32_t>(membrane);
            sent[at] = neurons.spiking ? spike : neurons.membrane[j];
            if (membranes) membranes[at] = neurons.membrane[j];
        }
    }
    return clipped;
}

}  // namespace bispik
