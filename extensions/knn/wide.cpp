// Exact nearest neighbors of points of any width: all distances by subtraction, several queries at a time.
#include <algorithm>
#include <limits>
#include <vector>

#include "csrc/arguments.h"
#include "csrc/parallel.h"
#include "knn/knn.h"

namespace point_ops {
namespace {

constexpr int ROWS = LANES == 16 ? 4 : 2;  // queries that share what is loaded, as many as the registers hold
constexpr int VECTORS = 4;                 // of points; TILE is a multiple
constexpr int64_t BATCH = 16;              // queries that pass over a piece of the planes while it is in the cache
constexpr int64_t MAX_WIDTH = 1 << 20;

// Points a tile after the other, in each the first coordinate of all its points, then the second: what is read together
// lies together. Filled up to whole tiles with what is no number.
struct Planes {
  std::vector<float> values;
  int64_t width = 0, places = 0;

  void read(const float* points, int64_t N, int64_t C) {
    width = C, places = parts_of(N, TILE) * TILE;
    values.assign(size_t(width * places), std::numeric_limits<float>::quiet_NaN());
    for (int64_t first = 0; first < N; first += TILE) {  // a tile at a time, which stays in the cache
      for (int64_t c = 0; c < C; c++) {
        float* to = values.data() + first * C + c * TILE;
        for (int64_t n = first; n < std::min(N, first + TILE); n++) to[n - first] = points[n * C + c];
      }
    }
  }
};

struct WideScratch : SearchScratch {
  std::vector<float> rows;  // (BATCH, places) squared distances
};

// Squared distances of ROWS queries to the points from `place` on; the last of `count` queries fills up the rest.
void measure_block(const Planes& planes, const float* queries, int64_t count, int64_t place, float* rows) {
  Floats sum[ROWS][VECTORS] = {};
  const float *own[ROWS], *plane = planes.values.data() + place / TILE * TILE * planes.width + place % TILE;
  for (int row = 0; row < ROWS; row++) own[row] = queries + std::min<int64_t>(row, count - 1) * planes.width;
  for (int64_t c = 0; c < planes.width; c++, plane += TILE) {
    Floats value[VECTORS];
    for (int v = 0; v < VECTORS; v++) value[v] = load(plane + v * LANES);
    for (int row = 0; row < ROWS; row++) {
      const Floats coordinate = splat(own[row][c]);
      for (int v = 0; v < VECTORS; v++) {
        const Floats difference = value[v] - coordinate;
        sum[row][v] = multiply_add(difference, difference, sum[row][v]);
      }
    }
  }
  for (int64_t row = 0; row < std::min<int64_t>(ROWS, count); row++) {
    for (int v = 0; v < VECTORS; v++) store(rows + row * planes.places + place + v * LANES, sum[row][v]);
  }
}

// Squared distances of `count` queries to all points.
void measure_batch(const Planes& planes, const float* queries, int64_t count, float* rows) {
  for (int64_t place = 0; place < planes.places; place += VECTORS * LANES) {
    for (int64_t row = 0; row < count; row += ROWS) {
      measure_block(planes, queries + row * planes.width, count - row, place, rows + row * planes.places);
    }
  }
}

}  // namespace
}  // namespace point_ops

using namespace point_ops;

// points (B, N, C), queries (B, Q, C) -> squared distances (B, Q, k) and indices (B, Q, k).
EXPORT int point_ops_knn_wide(const float* points, const float* queries, int64_t B, int64_t N, int64_t Q, int64_t C,
                              int64_t k, float* distances, int64_t* found, int num_threads) {
  if (!are_sizes(B, N, Q, C, k) || N > MAX_POINTS || C > MAX_WIDTH || k > N || num_threads < 1) return BAD_ARGUMENT;
  if (B == 0 || Q == 0 || k == 0) return DONE;
  if ((C > 0 && !are_given(points, queries)) || !are_given(distances, found)) return BAD_ARGUMENT;
  return guarded([=] {
    std::vector<Planes> planes(B);
    const double cost = double(B) * N * Q * (1 + C / 3);
    const bool is_read = run_tasks<Nothing>(B, double(B) * N * C / 2, num_threads, [&](int64_t b, Nothing&) {
      planes[b].read(points + b * N * C, N, C);
    });
    const int64_t part = queries_a_task(B, Q, num_threads), num_parts = parts_of(Q, part);
    return is_read && run_tasks<WideScratch>(B * num_parts, cost, num_threads, [&](int64_t task, WideScratch& scratch) {
      const int64_t b = task / num_parts, first = task % num_parts * part, places = planes[b].places;
      scratch.rows.resize(size_t(BATCH * places));
      for (int64_t q = first; q < std::min(Q, first + part); q += BATCH) {
        const int64_t count = std::min(BATCH, std::min(Q, first + part) - q);
        measure_batch(planes[b], queries + (b * Q + q) * C, count, scratch.rows.data());
        for (int64_t row = 0; row < count; row++) {
          const float* own = scratch.rows.data() + row * places;
          scratch.distance.assign(own, own + places);
          int64_t* to = found + (b * Q + q + row) * k;
          select_smallest(int(places / TILE), int(k), to, scratch);
          for (int64_t i = 0; i < k; i++) distances[(b * Q + q + row) * k + i] = own[to[i]];
        }
      }
    });
  });
}
