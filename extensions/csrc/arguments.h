// What every exported function returns, and how it looks at its arguments before it touches memory.
#pragma once

#include <cstdint>

#define EXPORT extern "C" __attribute__((visibility("default")))

namespace point_ops {

enum Status : int { DONE = 0, OUT_OF_MEMORY = 1, BAD_ARGUMENT = 2 };

constexpr int64_t MAX_POINTS = 1 << 30;      // a place in a cloud is an int32
constexpr int64_t MAX_SIZE = int64_t(1) << 40;

template <class... Sizes>
bool are_sizes(Sizes... sizes) {
  return ((sizes >= 0 && sizes <= MAX_SIZE) && ...);
}

template <class... Pointers>
bool are_given(Pointers... pointers) {
  return ((pointers != nullptr) && ...);
}

// Calls work(), which returns false when memory ran out; an exception would end the process at the C boundary.
template <class Work>
int guarded(Work work) {
  try {
    return work() ? DONE : OUT_OF_MEMORY;
  } catch (...) {
    return OUT_OF_MEMORY;
  }
}

}  // namespace point_ops
