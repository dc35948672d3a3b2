// Assignment problems, one a task: shortest augmenting paths from prices that leave most rows at their cheapest column.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "csrc/arguments.h"
#include "csrc/parallel.h"

namespace point_ops {
namespace {

constexpr int64_t MAX_SIDE = 4096;  // of a problem: its costs are 128 MB

struct Scratch {
  std::vector<double> costs;         // (S, S)
  std::vector<double> u, v;          // prices of rows and columns
  std::vector<double> slack;         // length of the way to each column that is known so far
  std::vector<double> reached;       // and of those that the search has reached, in their order
  std::vector<int> owner, back;      // row of each column, column before it on the way; -1: none
  std::vector<int> left, seen;       // columns that the search has not reached yet, and those that it has
  std::vector<int> waiting;          // rows whose cheapest column belonged to another
};

double number(float score) {  // NaN counts as 0
  return std::isnan(score) ? 0 : score;
}

// A square problem of which the smallest sum is wanted, S = max(Q, R): rows that are added cost nothing, and a pair with
// a column that is added, or not present, costs more than all other pairs could save. So does an infinite score against
// finite ones, by no more than that: double precision has to hold both.
void make_square(const float* scores, const uint8_t* present, int64_t Q, int64_t R, int64_t S, Scratch& s) {
  double top = -INFINITY, low = INFINITY;
  bool has_infinite = false;
  for (int64_t j = 0; j < R; j++) {
    for (int64_t i = 0; present[j] && i < Q; i++) {
      const double score = number(scores[i * R + j]);
      if (std::isinf(score)) has_infinite = true;
      else top = std::max(top, score), low = std::min(low, score);
    }
  }
  const double span = top > low ? top - low : 1;
  const double beyond = has_infinite ? span * double(S + 1) : 0;
  const double worst = span + 2 * beyond, absent = worst * double(S + 1);
  const auto cost = [=](double score) {
    return std::isfinite(score) ? top - score + beyond : score > 0 ? 0 : worst;
  };
  s.costs.assign(S * S, 0);
  for (int64_t i = 0; i < Q; i++) {
    for (int64_t j = 0; j < S; j++) {
      s.costs[i * S + j] = j < R && present[j] ? cost(number(scores[i * R + j])) : absent;
    }
  }
}

// The column to be reached next, as its place in `left`: the one with the shortest way.
size_t find_nearest(const Scratch& s) {
  size_t best = 0;
  for (size_t place = 1; place < s.left.size(); place++) {
    if (s.slack[s.left[place]] < s.slack[s.left[best]]) best = place;
  }
  return best;
}

// Gives `row` a column, along a way on which rows change theirs.
void augment(int row, int S, Scratch& s) {
  s.slack.assign(S, std::numeric_limits<double>::infinity());
  s.left.resize(S);
  for (int j = 0; j < S; j++) s.left[j] = j;
  s.seen.clear(), s.reached.clear();
  int current = row, column = -1;
  double length = 0;
  while (current >= 0) {
    const double* from = s.costs.data() + int64_t(current) * S;
    const double start = length - s.u[current];
    for (int j : s.left) {
      const double way = start + from[j] - s.v[j];
      if (way < s.slack[j]) s.slack[j] = way, s.back[j] = column;
    }
    const size_t place = find_nearest(s);
    column = s.left[place];
    s.left[place] = s.left.back();
    s.left.pop_back();
    length = s.slack[column];
    s.seen.push_back(column);
    s.reached.push_back(length);
    current = s.owner[column];
  }
  s.u[row] += length;
  for (size_t k = 0; k + 1 < s.seen.size(); k++) {  // the last one is free, and its price stays
    s.u[s.owner[s.seen[k]]] += length - s.reached[k];
    s.v[s.seen[k]] -= length - s.reached[k];
  }
  while (column >= 0) {
    const int before = s.back[column];
    s.owner[column] = before >= 0 ? s.owner[before] : row;
    column = before;
  }
}

// Owners of the columns of s.costs (S, S), so that their sum is the smallest.
void solve(int S, Scratch& s) {
  s.u.assign(S, 0), s.v.assign(S, 0);
  s.owner.assign(S, -1), s.back.assign(S, -1);
  s.waiting.clear();
  for (int i = 0; i < S; i++) {
    const double* from = s.costs.data() + int64_t(i) * S;
    const int cheapest = int(std::min_element(from, from + S) - from);
    s.u[i] = from[cheapest];
    if (s.owner[cheapest] < 0) {
      s.owner[cheapest] = i;
    } else {
      s.waiting.push_back(i);
    }
  }
  for (int row : s.waiting) augment(row, S, s);
}

}  // namespace
}  // namespace point_ops

using namespace point_ops;

// scores (B, Q, R), present (B, R) -> chosen (B, Q), the column of each row, -1: none.
EXPORT int point_ops_assign(const float* scores, const uint8_t* present, int64_t B, int64_t Q, int64_t R,
                            int64_t* chosen, int num_threads) {
  if (!are_sizes(B, Q, R) || std::max(Q, R) > MAX_SIDE || num_threads < 1) return BAD_ARGUMENT;
  if (B == 0 || Q == 0) return DONE;
  if (!are_given(chosen) || (R && !are_given(scores, present))) return BAD_ARGUMENT;
  return guarded([=] {
    const int64_t S = std::max(Q, R);
    return run_tasks<Scratch>(B, double(B) * S * S * S / 4, num_threads, [=](int64_t b, Scratch& scratch) {
      const uint8_t* is_there = present + b * R;
      make_square(scores + b * Q * R, is_there, Q, R, S, scratch);
      solve(int(S), scratch);
      for (int64_t j = 0; j < S; j++) {
        const int row = scratch.owner[j];
        if (row < Q) chosen[b * Q + row] = j < R && is_there[j] ? j : -1;
      }
    });
  });
}
