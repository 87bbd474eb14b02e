// The forms in which the engine has a stream network's synapses, and the order in which it runs populations.
#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "stream.hpp"

namespace bispik {
namespace {

std::size_t at(int index) { return static_cast<std::size_t>(index); }

// 2^64 / divisor, rounded up; 0 for 1.
std::uint64_t reciprocal(std::uint64_t divisor) { return std::numeric_limits<std::uint64_t>::max() / divisor + 1; }

// By place on the source along one axis: the taps of the kernel that take it, each with its place among `taps`, and for
// which place of the target; in the order of the taps.
std::vector<std::vector<Tap>> taps_of(const Geometry& geometry, int axis, const std::vector<int>& taps) {
    std::vector<std::vector<Tap>> taken(at(geometry.source[axis + 1]));
    for (std::size_t i = 0; i < taps.size(); ++i) {
        const std::int64_t shift = std::int64_t{taps[i]} * geometry.dilation[axis] - geometry.padding[axis];
        for (int place = 0; place < geometry.target[axis + 1]; ++place) {
            const std::int64_t from = std::int64_t{place} * geometry.stride[axis] + shift;
            if (0 <= from && from < geometry.source[axis + 1]) {
                taken[static_cast<std::size_t>(from)].push_back({static_cast<std::int32_t>(i), place});
            }
        }
    }
    return taken;
}

void reorder(std::vector<std::int32_t>& values, const std::vector<std::int32_t>& order) {
    std::vector<std::int32_t> moved(values.size());
    for (std::size_t i = 0; i < values.size(); ++i) moved[i] = values[at(order[i])];
    values = std::move(moved);
}

// Populations in an order in which each stands behind all that it reaches along `edges`, appended to `finished`.
void visit(int start, const std::vector<std::vector<int>>& edges, std::vector<bool>& seen, std::vector<int>& finished) {
    if (seen[at(start)]) return;
    seen[at(start)] = true;
    std::vector<std::pair<int, std::size_t>> way{{start, 0}};
    while (!way.empty()) {
        auto& [here, next] = way.back();
        if (next == edges[at(here)].size()) {
            finished.push_back(here);
            way.pop_back();
            continue;
        }
        const int reached = edges[at(here)][next++];
        if (seen[at(reached)]) continue;
        seen[at(reached)] = true;
        way.emplace_back(reached, 0);
    }
}

}  // namespace

ColumnSynapses::ColumnSynapses(std::span<const std::int64_t> row_starts, std::span<const std::int32_t> sources,
                               const std::int8_t* row_weights, int source_size)
    : starts(at(source_size) + 1, 0), targets(sources.size()), weights(sources.size()) {
    for (const std::int32_t source : sources) ++starts[at(source) + 1];
    for (std::size_t k = 0; k < at(source_size); ++k) starts[k + 1] += starts[k];
    std::vector<std::int64_t> next(starts.begin(), starts.end() - 1);
    for (std::size_t j = 0; j + 1 < row_starts.size(); ++j) {
        for (auto i = static_cast<std::size_t>(row_starts[j]); i < static_cast<std::size_t>(row_starts[j + 1]); ++i) {
            const auto to = static_cast<std::size_t>(next[at(sources[i])]++);
            targets[to] = static_cast<std::int32_t>(j);
            weights[to] = row_weights[i];
        }
    }
}

ConvolutionSynapses::ConvolutionSynapses(const Geometry& the_geometry, const std::int8_t* given)
    : geometry(the_geometry) {
    const std::size_t taken = at(geometry.source[0] / geometry.groups), made = at(geometry.target[0] / geometry.groups);
    const std::size_t rows = at(geometry.kernel[0]), width = at(geometry.kernel[1]);
    // Columns that take the same place of the source stand together, those first that take it for a place on the left:
    // their weights then lie as the neurons do.
    columns.resize(width);
    std::iota(columns.begin(), columns.end(), 0);
    std::ranges::stable_sort(columns, {}, [&](int column) {
        return std::pair(std::int64_t{column} * geometry.dilation[1] % geometry.stride[1], -column);
    });
    for (std::size_t channel = 0; channel < at(geometry.source[0]); ++channel) {
        const std::size_t group = channel / taken, own = channel % taken;
        for (std::size_t tap = 0; tap < rows * width; ++tap) {
            const std::size_t from = tap / width * width + at(columns[tap % width]);
            for (std::size_t o = 0; o < made; ++o) {
                weights.push_back(given[((group * made + o) * taken + own) * rows * width + from]);
            }
        }
    }
    arrange(false);
}

void ConvolutionSynapses::arrange(bool channels_beside) {
    beside = channels_beside;
    const int taken = geometry.source[0] / geometry.groups, made = geometry.target[0] / geometry.groups;
    const int area = geometry.target[1] * geometry.target[2], step = beside ? geometry.target[0] : 1;
    groups.resize(at(geometry.source[0]));
    for (int channel = 0; channel < geometry.source[0]; ++channel) {
        groups[at(channel)] = channel / taken * made * (beside ? 1 : area);
    }
    std::vector<int> rows(at(geometry.kernel[0]));
    std::iota(rows.begin(), rows.end(), 0);
    row_starts = {0};
    row_taps.clear();
    for (const std::vector<Tap>& taps : taps_of(geometry, 0, rows)) {
        for (const Tap& tap : taps) {
            row_taps.push_back({tap.weight * geometry.kernel[1] * made, tap.target * geometry.target[2] * step});
        }
        row_starts.push_back(static_cast<std::int32_t>(row_taps.size()));
    }
    column_starts = {0};
    column_runs.clear();
    for (const std::vector<Tap>& taps : taps_of(geometry, 1, columns)) {
        for (const Tap& tap : taps) {
            const Run run{tap.weight * made, tap.target * step, made};
            Run* last = &tap == taps.data() ? nullptr : &column_runs.back();
            if (last && adjacent() && last->weight + last->length == run.weight &&
                last->target + last->length == run.target) {
                last->length += made;
            } else {
                column_runs.push_back(run);
            }
        }
        column_starts.push_back(static_cast<std::int32_t>(column_runs.size()));
    }
}

MapSynapses ConvolutionSynapses::map() const {
    const int made = geometry.target[0] / geometry.groups, taps = geometry.kernel[0] * geometry.kernel[1];
    const auto area = static_cast<std::uint32_t>(geometry.source[1]) * static_cast<std::uint32_t>(geometry.source[2]);
    const auto width = static_cast<std::uint32_t>(geometry.source[2]);
    return {weights.data(),
            made,
            taps * made,
            area,
            width,
            reciprocal(area),
            reciprocal(width),
            groups.data(),
            row_starts.data(),
            row_taps.data(),
            column_starts.data(),
            column_runs.data(),
            adjacent() ? geometry.target[2] * (beside ? geometry.target[0] : 1)
                       : geometry.target[0] * geometry.target[1] * geometry.target[2],
            adjacent() ? 1 : geometry.target[1] * geometry.target[2]};
}

StreamNeurons StreamPopulation::neurons(std::size_t first) const {
    return {current_keep.data() + first,
            keep.data() + first,
            threshold.data() + first,
            subtract.data() + first,
            bias.data() + first,
            nullptr,
            nullptr,
            nullptr,
            memory,
            reset == StreamReset::hard,
            reset == StreamReset::soft,
            spiking};
}

void StreamPopulation::arrange() {
    memory = std::any_of(current_keep.begin(), current_keep.end(), [](std::int32_t kept) { return kept != 0; });
    // Neighbouring channels pay where a source neuron reaches several, unless a matrix has its own order.
    constexpr int kWorthwhile = 4;
    const Geometry* geometry = nullptr;
    int channels = 0;
    for (const StreamSynapses& input : inputs) {
        if (std::holds_alternative<DenseSynapses>(input.wiring)) return;
        const auto* map = std::get_if<ConvolutionSynapses>(&input.wiring);
        if (!map) continue;
        if (geometry && !std::ranges::equal(geometry->target, map->geometry.target)) return;
        geometry = &map->geometry;
        channels = std::max(channels, geometry->target[0] / geometry->groups);
    }
    if (channels < kWorthwhile || geometry->target[1] * geometry->target[2] == 1) return;
    const int all = geometry->target[0], area = geometry->target[1] * geometry->target[2];
    order.resize(at(size()));
    place.resize(at(size()));
    for (int i = 0; i < size(); ++i) {
        order[at(i)] = i % all * area + i / all;
        place[at(order[at(i)])] = i;
    }
    for (auto* constants : {&current_keep, &keep, &threshold, &subtract, &bias, &initial, &initial_current}) {
        reorder(*constants, order);
    }
    for (StreamSynapses& input : inputs) {
        if (auto* map = std::get_if<ConvolutionSynapses>(&input.wiring)) map->arrange(true);
        if (auto* columns = std::get_if<ColumnSynapses>(&input.wiring)) {
            for (std::int32_t& target : columns->targets) target = place[at(target)];
        }
    }
}

std::vector<Component> StreamNetwork::components() const {
    const std::size_t count = populations.size();
    std::vector<std::vector<int>> reached(count), taken(count);
    std::vector<bool> itself(count);
    for (std::size_t index = 0; index < count; ++index) {
        for (const StreamSynapses& input : populations[index].inputs) {
            if (input.source == 0) continue;
            const int source = input.source - 1, target = static_cast<int>(index);
            reached[at(source)].push_back(target);
            taken[index].push_back(source);
            itself[index] = itself[index] || source == target;
        }
    }
    std::vector<int> finished;
    std::vector<bool> seen(count);
    for (std::size_t index = 0; index < count; ++index) visit(static_cast<int>(index), reached, seen, finished);
    // Kosaraju: backwards along the edges, from the last that was finished, each walk stays in one component.
    std::vector<Component> found;
    seen.assign(count, false);
    for (auto last = finished.rbegin(); last != finished.rend(); ++last) {
        Component component{{}, itself[at(*last)]};
        visit(*last, taken, seen, component.populations);
        if (component.populations.empty()) continue;
        component.loop = component.loop || component.populations.size() > 1;
        std::ranges::sort(component.populations);
        found.push_back(std::move(component));
    }
    return found;
}

}  // namespace bispik
