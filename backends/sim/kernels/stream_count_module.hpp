// Arrays of Python that hold what is counted in stream networks.
#pragma once

#include <vector>

#include "module.hpp"
#include "stream.hpp"

namespace bispik {

// Throws unless every index that `counting` has is one of the network.
void expect_counted(const StreamNetwork& network, const StreamCounting& counting);

// See StreamTally.
struct TallyArrays {
    std::vector<Target<std::int64_t, 3>> synops;
    std::vector<Target<std::int64_t, 2>> updated, costs;
    std::vector<Target<std::int64_t, 1>> sent;

    StreamTally checked(const StreamNetwork& network, const StreamCounting& counting, std::size_t steps) const;
};

}  // namespace bispik
