#pragma once

#include <cstdint>
#include <vector>

#include "csrc/cloud.h"

namespace point_ops {

struct SearchScratch {
  std::vector<float> distance;       // of the places looked at
  std::vector<int32_t> tiles;        // that are looked at
  std::vector<float> bound;          // (boxes) the far end of each tile
  std::vector<int64_t> keys, ranks;  // of the candidates
};

// Writes the indices of the k nearest points, nearest first, the lowest index first among equals.
void find_neighbors(const Cloud& cloud, const float* query, int k, int64_t* found, SearchScratch& scratch);

// The same for distances that are in scratch.distance, (num_tiles * TILE) of them in the order of the points.
void select_smallest(int num_tiles, int k, int64_t* found, SearchScratch& scratch);

}  // namespace point_ops
