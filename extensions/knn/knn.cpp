// Exact nearest neighbors: distances of all places that can matter, a bound on the k-th, a sort of the few below it.
#include "knn/knn.h"

#include <algorithm>
#include <limits>

#include "csrc/arguments.h"
#include "csrc/parallel.h"

namespace point_ops {
namespace {

constexpr float INFINITE = std::numeric_limits<float>::infinity();
constexpr int MAX_GROUPS = 256;  // the bound is drawn from the minima of so many groups of places
constexpr int MAX_RANKED = 128;  // more candidates are sorted, fewer are ranked by counting

int32_t as_int(float value) {  // keeps the order of values that are not negative
  int32_t result;
  std::memcpy(&result, &value, sizeof result);
  return result;
}

float as_float(int32_t value) {
  float result;
  std::memcpy(&result, &value, sizeof result);
  return result;
}

// Distances of one tile; the minima of four groups of places come along.
inline void measure_tile(const Cloud& cloud, int tile, Floats px, Floats py, Floats pz, float* distance,
                         Floats minima[4]) {
  for (int i = 0; i < TILE; i += LANES) {
    const size_t place = size_t(tile) * TILE + i;
    Floats value = squared(load(&cloud.x[place]) - px, load(&cloud.y[place]) - py, load(&cloud.z[place]) - pz);
    store(distance + i, value);
    Floats& minimum = minima[i / LANES % 4];
    minimum = smaller(value, minimum);
  }
}

// How many sets of 4 * LANES groups: twice as many groups as neighbors give a tight bound.
int sets_for(int k) {
  int num_sets = 1;
  while (num_sets * 4 * LANES < 4 * k && num_sets * 4 * LANES < MAX_GROUPS) num_sets *= 2;
  return num_sets;
}

// Fills scratch.distance and returns how many groups there are; minima gets the smallest distance of each.
int measure(const Cloud& cloud, const float* query, int num_tiles, int k, SearchScratch& scratch, float* minima) {
  const Floats px = splat(query[0]), py = splat(query[1]), pz = splat(query[2]);
  const int32_t* tiles = cloud.is_sorted ? scratch.tiles.data() : nullptr;
  scratch.distance.resize(size_t(num_tiles) * TILE);
  const int num_sets = sets_for(k);
  for (int set = 0; set < num_sets; set++) {
    Floats least[4] = {splat(INFINITE), splat(INFINITE), splat(INFINITE), splat(INFINITE)};
    for (int t = set; t < num_tiles; t += num_sets) {
      measure_tile(cloud, tiles ? tiles[t] : t, px, py, pz, &scratch.distance[size_t(t) * TILE], least);
    }
    for (int i = 0; i < 4; i++) store(minima + (4 * set + i) * LANES, least[i]);
  }
  return num_sets * 4 * LANES;
}

// A value that at least k of the minima do not exceed, and not many more than k; infinity if there is none.
float bound_by_minima(const float* minima, int num_groups, int k) {
  if (k > num_groups) return INFINITE;
  Floats lowest = load(minima), highest = lowest;
  for (int i = LANES; i < num_groups; i += LANES) {
    lowest = smaller(load(minima + i), lowest);
    highest = larger(load(minima + i), highest);
  }
  int32_t below = as_int(smallest(lowest)) - 1, enough = as_int(largest(highest));
  while (enough - below > 1) {
    const int32_t middle = below + (enough - below) / 2;
    const Floats limit = splat(as_float(middle));
    int count = 0;
    for (int i = 0; i < num_groups; i += LANES) count += __builtin_popcount(bits(load(minima + i) <= limit));
    if (count < k) {
      below = middle;
    } else {
      enough = middle;
      if (count <= k + k / 8) break;
    }
  }
  return as_float(enough);
}

// A distance within which there are k points: that of the k-th in the tile that seems nearest. For more neighbors than a
// tile has, the far ends of as many tiles as it takes.
float limit_by_tiles(const Cloud& cloud, const float* query, int k, SearchScratch& scratch) {
  const int num_full = cloud.size / TILE, num_needed = (k + TILE - 1) / TILE;
  if (num_needed > num_full) return INFINITE;
  scratch.bound.resize(cloud.num_boxes);
  for (int first = 0; first < cloud.num_boxes; first += LANES) {
    store(&scratch.bound[first], farthest_possible(cloud, first, query));
  }
  std::fill(scratch.bound.begin() + num_full, scratch.bound.end(), INFINITE);
  if (num_needed > 1) {
    std::nth_element(scratch.bound.begin(), scratch.bound.begin() + num_needed - 1, scratch.bound.end());
    return scratch.bound[num_needed - 1];
  }
  Floats lowest = splat(INFINITE);
  for (int first = 0; first < cloud.num_boxes; first += LANES) lowest = smaller(load(&scratch.bound[first]), lowest);
  const float least = smallest(lowest);
  int best = 0;
  for (int first = 0; first < num_full; first += LANES) {
    if (uint32_t equal = bits(load(&scratch.bound[first]) == splat(least))) {
      best = first + lowest_bit(equal);
      break;
    }
  }
  alignas(64) float distance[TILE];
  Floats unused[4] = {};
  measure_tile(cloud, best, splat(query[0]), splat(query[1]), splat(query[2]), distance, unused);
  return bound_by_minima(distance, TILE, k);
}

// Tiles that can hold one of the k nearest: those that begin within the limit.
void choose_tiles(const Cloud& cloud, const float* query, int k, SearchScratch& scratch) {
  scratch.tiles.clear();
  const Floats limit = splat(limit_by_tiles(cloud, query, k, scratch));
  for (int first = 0; first < cloud.num_boxes; first += LANES) {
    for (uint32_t near = bits(nearest_possible(cloud, first, query) <= limit); near; near &= near - 1) {
      const int tile = first + lowest_bit(near);
      if (tile < cloud.num_tiles) scratch.tiles.push_back(tile);
    }
  }
}

// Keys of the places within the limit: the distance above, the index below, so that their order is that of the result.
int collect(const Cloud* sorted, int num_tiles, float limit, SearchScratch& scratch) {
  scratch.keys.resize(size_t(num_tiles) * TILE + LANES);
  const float* distance = scratch.distance.data();
  int64_t* keys = scratch.keys.data();
  int count = 0;
  for (int t = 0; t < num_tiles; t++) {
    uint64_t within = 0;
    for (int i = 0; i < TILE; i += LANES) {
      within |= uint64_t(bits(load(distance + size_t(t) * TILE + i) <= splat(limit))) << i;
    }
    const int first = (sorted ? scratch.tiles[t] : t) * TILE;
    for (; within; within &= within - 1) {
      const int i = lowest_bit(within);
      const int32_t index = sorted ? sorted->index[first + i] : first + i;
      keys[count++] = int64_t(as_int(distance[size_t(t) * TILE + i])) << 32 | index;
    }
  }
  return count;
}

// Writes the k smallest in order. Counting the smaller ones of each has no branch to mispredict.
void write_smallest(SearchScratch& scratch, int count, int k, int64_t* found) {
  int64_t* keys = scratch.keys.data();
  if (count > MAX_RANKED) {
    std::nth_element(keys, keys + k - 1, keys + count);
    count = k;
    if (count > MAX_RANKED) {
      std::sort(keys, keys + count);
      for (int i = 0; i < k; i++) found[i] = int32_t(keys[i]);
      return;
    }
  }
  scratch.ranks.resize(MAX_RANKED);
  int64_t* ranks = scratch.ranks.data();
  typedef int64_t Longs __attribute__((vector_size(LANES * 4)));
  constexpr int NUM = LANES / 2;
  for (int i = 0; i < count; i += NUM) {  // the keys have room for a whole vector at their end
    Longs own, rank{};
    std::memcpy(&own, keys + i, sizeof own);
    for (int j = 0; j < count; j++) rank = own > keys[j] ? rank + 1 : rank;
    std::memcpy(ranks + i, &rank, sizeof rank);
  }
  for (int i = 0; i < count; i++) {
    if (ranks[i] < k) found[ranks[i]] = int32_t(keys[i]);
  }
}

}  // namespace

void find_neighbors(const Cloud& cloud, const float* query, int k, int64_t* found, SearchScratch& scratch) {
  alignas(64) float minima[MAX_GROUPS];
  if (cloud.is_sorted) choose_tiles(cloud, query, k, scratch);
  const int num_tiles = cloud.is_sorted ? int(scratch.tiles.size()) : cloud.num_tiles;
  const int num_groups = measure(cloud, query, num_tiles, k, scratch, minima);
  const float limit = bound_by_minima(minima, num_groups, k);
  const int count = collect(cloud.is_sorted ? &cloud : nullptr, num_tiles, limit, scratch);
  if (count >= k) return write_smallest(scratch, count, k, found);
  std::fill(found, found + k, 0);  // only with coordinates that are not numbers
}

void select_smallest(int num_tiles, int k, int64_t* found, SearchScratch& scratch) {
  alignas(64) float minima[MAX_GROUPS];
  const int num_sets = sets_for(k);
  for (int set = 0; set < num_sets; set++) {
    Floats least[4] = {splat(INFINITE), splat(INFINITE), splat(INFINITE), splat(INFINITE)};
    for (int t = set; t < num_tiles; t += num_sets) {
      for (int i = 0; i < TILE; i += LANES) {
        Floats& minimum = least[i / LANES % 4];
        minimum = smaller(load(&scratch.distance[size_t(t) * TILE + i]), minimum);
      }
    }
    for (int i = 0; i < 4; i++) store(minima + (4 * set + i) * LANES, least[i]);
  }
  const int count = collect(nullptr, num_tiles, bound_by_minima(minima, num_sets * 4 * LANES, k), scratch);
  if (count >= k) return write_smallest(scratch, count, k, found);
  std::fill(found, found + k, 0);  // only with coordinates that are not numbers
}

}  // namespace point_ops

using namespace point_ops;

// points (B, N, 3), queries (B, Q, 3) -> found (B, Q, k).
EXPORT int point_ops_knn(const float* points, const float* queries, int64_t B, int64_t N, int64_t Q, int64_t k,
                         int64_t* found, int num_threads) {
  if (!are_sizes(B, N, Q, k) || N > MAX_POINTS || k > N || num_threads < 1) return BAD_ARGUMENT;
  if (B == 0 || Q == 0 || k == 0) return DONE;
  if (!are_given(points, queries, found)) return BAD_ARGUMENT;
  return guarded([=] {
    std::vector<Cloud> clouds(B);
    const double cost = double(B) * N * Q;
    const int64_t part = queries_a_task(B, Q, num_threads), num_parts = parts_of(Q, part);
    const bool is_read = run_tasks<Nothing>(B, 0.1 * cost, num_threads, [&](int64_t b, Nothing&) {
      clouds[b].read(points + 3 * b * N, int(N));
    });
    return is_read && run_tasks<SearchScratch>(B * num_parts, cost, num_threads, [&](int64_t task, SearchScratch& scratch) {
      const int64_t b = task / num_parts, first = task % num_parts * part;
      for (int64_t q = first; q < std::min(Q, first + part); q++) {
        find_neighbors(clouds[b], queries + 3 * (b * Q + q), int(k), found + (b * Q + q) * k, scratch);
      }
    });
  });
}
