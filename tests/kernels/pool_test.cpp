// Many short rounds: every task is run once, before `run` returns, and what it wrote is seen by the caller.
#include <vector>

#include "pool.hpp"
#include "tests.hpp"

namespace bispik::test {

void test_pool(Random& random) {
    Pool pool(random.number(1, 4));
    std::vector<int> runs;  // not atomic on purpose: the pool itself must order the accesses
    for (int round = random.number(1, 300); round > 0; --round) {
        const int count = random.number(0, 9);
        runs.assign(static_cast<std::size_t>(count), 0);
        const int once = random.number(1, 1000);
        pool.run(count, [&](int task) { runs[static_cast<std::size_t>(task)] += once; });
        for (const int written : runs) expect(written == once, "a task that was not run exactly once");
    }
}

}  // namespace bispik::test
