// What the files that Python sees share.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <atomic>
#include <cstdint>
#include <vector>

namespace bispik {

namespace nb = nanobind;

template <typename Value, int kAxes>
using Array = nb::ndarray<const Value, nb::ndim<kAxes>, nb::c_contig, nb::device::cpu>;
template <typename Value, int kAxes>
using Target = nb::ndarray<Value, nb::ndim<kAxes>, nb::c_contig, nb::device::cpu>;

inline void expect(bool holds, const char* message) {
    if (!holds) throw nb::value_error(message);
}

inline std::vector<std::int32_t> copied(const Array<std::int32_t, 1>& array) {
    return {array.data(), array.data() + array.shape(0)};
}

// Refuses a second run of an engine while one goes on, until the end of the first, however it ends.
class Running {
 public:
    explicit Running(std::atomic_flag& flag) : flag_(flag) {
        expect(!flag_.test_and_set(), "this engine is running already; every thread needs its own");
    }
    ~Running() { flag_.clear(); }
    Running(const Running&) = delete;
    Running& operator=(const Running&) = delete;

 private:
    std::atomic_flag& flag_;
};

// Between two blocks of a run: whether the user wants it to end.
inline void check_signals() {
    nb::gil_scoped_acquire acquired;
    if (PyErr_CheckSignals() != 0) throw nb::python_error();
}

// Stream networks: stream_module.cpp.
void bind_streams(nb::module_& m);

// What is counted in them: stream_count_module.cpp.
void bind_stream_counts(nb::module_& m);

}  // namespace bispik
