// The parts of the kernels' test. Each throws std::runtime_error at the first difference.
#pragma once

#include "check.hpp"
#include "kernels.hpp"

namespace bispik::test {

// One random call of every function of a table; maps and neurons of stream networks come with whole networks.
void test_kernels(Random& random, const Kernels& kernels);
void test_stream_kernels(Random& random, const Kernels& kernels);

// One random network, on every table that this processor has and with one to three threads.
void test_engine(Random& random);

// One random stream network, in the same ways.
void test_stream(Random& random);

// What is counted in one random stream network, with one to three threads.
void test_stream_counting(Random& random);

// Many short rounds of tasks on one to four threads.
void test_pool(Random& random);

}  // namespace bispik::test
