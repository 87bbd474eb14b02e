// The kernels' stand-alone test: `kernels_test [CASES [SEED]]`. Ends with 1 at the first difference, after its seed.
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <stdexcept>

#include "paths.hpp"
#include "tests.hpp"

int main(int count, char** arguments) {
    using namespace bispik;
    const int cases = count > 1 ? std::atoi(arguments[1]) : 200;
    const auto seed = count > 2 ? std::strtoull(arguments[2], nullptr, 10) : 0;
    if (cases < 1 || count > 3) {
        std::fprintf(stderr, "usage: kernels_test [CASES [SEED]]\n");
        return 2;
    }
    const auto check = [&](const char* what, const std::function<void(test::Random&)>& run) {
        for (int i = 0; i < cases; ++i) {
            const auto at = seed + static_cast<std::uint64_t>(i);
            test::Random random(at);
            try {
                run(random);
            } catch (const std::exception& error) {
                std::fprintf(stderr, "%s, seed %llu: %s\n", what, static_cast<unsigned long long>(at), error.what());
                std::exit(1);
            }
        }
        std::printf("%s: %d cases\n", what, cases);
    };
    for (const Path& path : built_paths()) {
        const std::string what = "kernels " + path.name;
        if (path.available) {
            check(what.c_str(), [&](test::Random& random) { test::test_kernels(random, path.kernels()); });
        } else {
            std::printf("%s: not on this processor\n", what.c_str());
        }
    }
    check("engine", test::test_engine);
    check("stream networks", test::test_stream);
    check("counting in stream networks", test::test_stream_counting);
    check("pool", test::test_pool);
    return 0;
}
