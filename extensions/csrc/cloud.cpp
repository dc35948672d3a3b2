#include "csrc/cloud.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace point_ops {
namespace {

constexpr float NOT_A_NUMBER = std::numeric_limits<float>::quiet_NaN();
constexpr float FAR_AWAY = std::numeric_limits<float>::infinity();

// Puts two zeros between the ten lowest bits.
uint32_t spread(uint32_t value) {
  value = (value | value << 16) & 0x030000ff;
  value = (value | value << 8) & 0x0300f00f;
  value = (value | value << 4) & 0x030c30c3;
  return (value | value << 2) & 0x09249249;
}

// Sorts by the upper halves of the keys, which have `num_bits` bits.
void radix_sort(std::vector<uint64_t>& keys, int num_bits) {
  constexpr int DIGIT = 11;
  std::vector<uint64_t> other(keys.size());
  for (int shift = 32; shift < 32 + num_bits; shift += DIGIT) {
    std::array<uint32_t, (1 << DIGIT) + 1> start{};
    for (uint64_t key : keys) start[(key >> shift & ((1 << DIGIT) - 1)) + 1]++;
    for (int digit = 0; digit < 1 << DIGIT; digit++) start[digit + 1] += start[digit];
    for (uint64_t key : keys) other[start[key >> shift & ((1 << DIGIT) - 1)]++] = key;
    keys.swap(other);
  }
}

}  // namespace

void Cloud::read(const float* points, int num_points) {
  size = num_points;
  num_tiles = (size + TILE - 1) / TILE;
  is_sorted = size >= SORTED_FROM;
  if (is_sorted) sort(points);
  for (auto* plane : {&x, &y, &z}) {
    plane->resize(size_t(num_tiles) * TILE);
    std::fill(plane->begin() + size, plane->end(), NOT_A_NUMBER);
  }
  for (int place = 0; place < size; place++) {
    const float* point = points + 3 * size_t(is_sorted ? index[place] : place);
    x[place] = point[0], y[place] = point[1], z[place] = point[2];
  }
  if (is_sorted) bound();
}

// Morton order: points of one tile lie close together.
void Cloud::sort(const float* points) {
  float low_corner[3], scale = 0;
  for (int axis = 0; axis < 3; axis++) {
    float low_end = points[axis], high_end = points[axis];
    for (int i = 1; i < size; i++) {
      low_end = std::min(low_end, points[3 * size_t(i) + axis]);
      high_end = std::max(high_end, points[3 * size_t(i) + axis]);
    }
    low_corner[axis] = low_end;
    scale = std::max(scale, high_end - low_end);
  }
  const int bits_an_axis = size <= 16384 ? 7 : 10;
  const float last_cell = float((1 << bits_an_axis) - 1);
  // All in one cell, which is slow but right, where the extent is zero or overflows.
  scale = scale > 0 && std::isfinite(last_cell / scale) && std::isfinite(scale) ? last_cell / scale : 0;
  std::vector<uint64_t> keys(size);
  for (int i = 0; i < size; i++) {
    uint32_t code = 0;
    for (int axis = 0; axis < 3; axis++) {
      float cell = (points[3 * size_t(i) + axis] - low_corner[axis]) * scale;
      cell = cell > 0 ? std::min(cell, last_cell) : 0;
      code |= spread(uint32_t(cell)) << axis;
    }
    keys[i] = uint64_t(code) << 32 | uint32_t(i);
  }
  radix_sort(keys, 3 * bits_an_axis);
  index.resize(size);
  for (int place = 0; place < size; place++) index[place] = int32_t(uint32_t(keys[place]));
}

void Cloud::bound() {
  num_boxes = (num_tiles + LANES - 1) / LANES * LANES;
  const std::vector<float>* planes[3] = {&x, &y, &z};
  for (int axis = 0; axis < 3; axis++) {
    low[axis].assign(num_boxes, FAR_AWAY);
    high[axis].assign(num_boxes, FAR_AWAY);
    for (int tile = 0; tile < num_tiles; tile++) {
      const float* values = planes[axis]->data() + size_t(tile) * TILE;
      Floats low_end = splat(values[0]), high_end = splat(values[0]);
      for (int i = 0; i < TILE; i += LANES) {
        low_end = smaller(load(values + i), low_end);
        high_end = larger(load(values + i), high_end);
      }
      low[axis][tile] = smallest(low_end);
      high[axis][tile] = largest(high_end);
    }
  }
}

}  // namespace point_ops
