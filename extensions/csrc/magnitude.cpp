// How large the coordinates of clouds are: whether they are finite, and whether their squares are numbers too.
#include <algorithm>
#include <cstring>
#include <vector>

#include "csrc/arguments.h"
#include "csrc/parallel.h"
#include "csrc/simd.h"

namespace point_ops {
namespace {

constexpr int32_t MAGNITUDE = 0x7fffffff;  // without the sign the order of bits is that of values, then infinity, then NaN

int32_t largest_bits(const float* values, int64_t count) {
  Ints most[2] = {};
  int64_t i = 0;
  for (; i + 2 * LANES <= count; i += 2 * LANES) {
    for (int half = 0; half < 2; half++) {
      const Ints own = (Ints)load(values + i + half * LANES) & MAGNITUDE;
      most[half] = own > most[half] ? own : most[half];
    }
  }
  int32_t largest = 0;
  for (int lane = 0; lane < LANES; lane++) largest = std::max({largest, most[0][lane], most[1][lane]});
  for (; i < count; i++) {
    int32_t own;
    std::memcpy(&own, values + i, sizeof own);
    largest = std::max(largest, own & MAGNITUDE);
  }
  return largest;
}

}  // namespace
}  // namespace point_ops

using namespace point_ops;

// values (B, count) -> range (2): the largest magnitude, infinite or NaN if one is; the smallest of the clouds' largest,
// those of zeros alone left out, infinite if there is none.
EXPORT int point_ops_magnitude(const float* values, int64_t B, int64_t count, float* range, int num_threads) {
  if (!are_sizes(B, count) || range == nullptr || num_threads < 1) return BAD_ARGUMENT;
  if (B * count > 0 && values == nullptr) return BAD_ARGUMENT;
  return guarded([=] {
    std::vector<int32_t> largest(B);
    const bool is_well = run_tasks<Nothing>(B, double(B) * count / 8, num_threads, [&](int64_t b, Nothing&) {
      largest[b] = largest_bits(values + b * count, count);
    });
    int32_t both[2] = {0, 0x7f800000};
    for (int32_t own : largest) {
      both[0] = std::max(both[0], own);
      if (own > 0) both[1] = std::min(both[1], own);
    }
    std::memcpy(range, both, sizeof both);
    return is_well;
  });
}
