// Exact linear assignment by shortest augmenting paths, for one dense matrix.
//
// What makes it fast, in order of weight: each Dijkstra step is one pass of vector instructions over
// a row; every row starts at its minimum, and where too many rows share one (a square problem only),
// from the duals of a small sample, spread over all columns by a c-transform, so that most searches
// end near where they begin; rows left over outbid each other a few times before the searches begin;
// among many equal costs a free column is preferred.
//
// R. Jonker, A. Volgenant, Computing 38 (1987); D. F. Crouse, IEEE Trans. AES 52 (2016).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <random>
#include <vector>

#include "costs.h"
#include "lanes.h"

namespace lsajax {

enum Status : int32_t { kOptimal = 1, kInfeasible = 2, kIterationLimit = 3 };

template <class T> class Assignment {
  using V = Vector<T>;
  static constexpr T kInfinity = std::numeric_limits<T>::infinity();
  static constexpr int kFree = -1;
  static constexpr int kOwned = 1 << 30;  // added to the key of a column that has a row
  static constexpr int kNone = std::numeric_limits<int>::max();
  static constexpr int kLookEvery = 8;  // steps at one distance until a free column is looked for
  static constexpr double kCrowded = 0.45;  // rows without a column of their own, of all
  static constexpr int kReductionsPerRow = 3;  // bound on price wars, on average over a pass

 public:
  // Read after Solve: the column of each row, and the column duals (idle columns have 0).
  std::vector<int> column_of_row;
  Lanes<T> dual;

  // `dual` must hold `costs.stride` start values if `warm`. `dense`: no entry is infinite.
  Status Solve(const Costs<T>& costs, bool warm, bool dense, int64_t max_scans) {
    costs_ = &costs;
    scans_left_ = max_scans;
    Reset(warm);
    const bool may_sample = !warm && dense && costs.rows == costs.cols && SampleSize() >= 6;
    const int crowded = may_sample ? static_cast<int>(kCrowded * costs.rows) : costs.rows;
    int left = MatchMinima(crowded);
    if (left > crowded) {
      SampleDuals(SampleSize());
      left = MatchMinima(costs.rows);
    }
    while (left > 0 && ReduceRows(&left)) {
    }
    for (int i = 0; i < costs.rows; ++i) {
      if (column_of_row[i] != kFree) continue;
      const Status status = Insert(i);
      if (status != kOptimal) return status;
    }
    return warm && costs.rows < costs.cols ? SettleIdleColumns() : kOptimal;
  }

 private:
  const Costs<T>* costs_ = nullptr;
  int64_t scans_left_ = 0;
  std::vector<int> row_of_column_;
  // What a search knows of the columns, side by side: arrays of their own, a multiple of 4 KiB apart,
  // would stall one another.
  struct Line {
    typename V::Values distance;   // infinity at columns already settled and at padding
    typename V::Values offset;     // the dual, and -infinity at settled columns: never reached again
    typename V::Indices previous;  // row before a column on its shortest path
  };
  std::vector<Line> lines_;
  std::vector<int> settled_;
  std::vector<T> settled_at_;
  Lanes<typename V::Index> key_;  // the column's number, larger if it has a row
  Lanes<T> zeros_;
  Costs<T> sample_;
  std::unique_ptr<Assignment<T>> coarse_;  // solves the sample; kept for its memory

  void Reset(bool warm) {
    const int stride = costs_->stride;
    if (!warm) dual.assign(stride, 0);
    lines_.resize(stride / V::kWidth);
  }

  // Large enough to place the duals, small enough to cost little: measured at 20 to 2000.
  int SampleSize() const { return std::min(costs_->rows / 3, 300); }

  // Duals of a random square sample, extended to all columns: dual_j = min_i (cost_ij - u_i).
  void SampleDuals(int size) {
    const int n = costs_->rows;
    std::minstd_rand generator(n);
    const std::vector<int> rows = Sample(n, size, generator), cols = Sample(n, size, generator);
    if (!coarse_) coarse_ = std::make_unique<Assignment<T>>();
    Assignment<T>& coarse = *coarse_;
    Costs<T>& part = sample_;
    part.Resize(size, size);
    for (int a = 0; a < size; ++a) {
      T* out = part.Row(a);
      std::fill(out, out + part.stride, kInfinity);
      for (int b = 0; b < size; ++b) out[b] = costs_->Row(rows[a])[cols[b]];
    }
    if (coarse.Solve(part, false, true, std::numeric_limits<int64_t>::max()) != kOptimal) return;
    std::fill(dual.begin(), dual.end(), kInfinity);
    for (int a = 0; a < size; ++a) {
      const int b = coarse.column_of_row[a];
      const T row_dual = part.Row(a)[b] - coarse.dual[b];
      const T* __restrict row = costs_->Row(rows[a]);
      T* __restrict out = dual.data();
      for (int j = 0; j < costs_->cols; ++j) {
        const T reduced = row[j] - row_dual;
        out[j] = reduced < out[j] ? reduced : out[j];
      }
    }
    std::fill(dual.begin() + costs_->cols, dual.end(), T(0));
  }

  template <class Generator> static std::vector<int> Sample(int n, int size, Generator& generator) {
    std::vector<int> all(n), chosen;
    for (int i = 0; i < n; ++i) all[i] = i;
    std::sample(all.begin(), all.end(), std::back_inserter(chosen), size, generator);
    return chosen;
  }

  // Every row takes its cheapest column at these duals, if that is still free (of equals, one that
  // is). Returns how many rows are left over; stops when these are more than `most`.
  int MatchMinima(int most) {
    column_of_row.assign(costs_->rows, kFree);
    row_of_column_.assign(costs_->cols, kFree);
    KeyColumns();
    int left = 0;
    const int lines = costs_->stride / V::kWidth;
    for (int i = 0; i < costs_->rows && left <= most; ++i) {
      const T* row = costs_->Row(i);
      Nearest<T> nearest;
      for (int k = 0; k < lines; ++k)
        nearest.Take(V::Load(row, k) - V::Load(dual.data(), k), V::LoadIndex(key_.data(), k));
      T best;
      const auto key = nearest.Find(&best);
      if (best < kInfinity && key < kOwned) Own(key, i);
      else ++left;
    }
    return left;
  }

  void Own(int column, int row) {
    row_of_column_[column] = row;
    column_of_row[row] = column;
    key_[column] = column + kOwned;
  }

  // Each row without a column outbids the holder of its cheapest one, up to the point where its
  // second cheapest would do as well ("augmenting row reduction"). True if that served many of them
  // and is worth repeating: so it is where costs are irregular.
  bool ReduceRows(int* left) {
    std::vector<int> waiting;
    for (int i = 0; i < costs_->rows; ++i)
      if (column_of_row[i] == kFree) waiting.push_back(i);
    int64_t budget = kReductionsPerRow * static_cast<int64_t>(waiting.size());
    for (int row : waiting) {
      while (row != kFree && --budget >= 0) {
        T best, second;
        const int column = TwoLeast(costs_->Row(row), &best, &second);
        if (!(second < kInfinity)) break;  // fewer than two partners are permitted
        const int holder = row_of_column_[column];
        if (holder != kFree && !(best < second)) break;
        dual[column] -= second - best;
        Own(column, row);
        if (holder != kFree) column_of_row[holder] = kFree;
        row = holder;
      }
    }
    *left = std::count(column_of_row.begin(), column_of_row.end(), kFree);
    return 4 * static_cast<size_t>(*left) < 3 * waiting.size();
  }

  // The two least reduced costs of a row, and the column of the first.
  int TwoLeast(const T* row, T* best, T* second) const {
    const int lines = costs_->stride / V::kWidth;
    Nearest<T> nearest;
    auto next = V::Splat(kInfinity);  // per lane
    for (int k = 0; k < lines; ++k) {
      const auto reduced = V::Load(row, k) - V::Load(dual.data(), k);
      const auto above = reduced < nearest.least ? nearest.least : reduced;
      next = above < next ? above : next;
      nearest.Take(reduced, V::LoadIndex(key_.data(), k));
    }
    const auto key = nearest.Find(best);
    *second = *best;
    if (!(*best < kInfinity)) return kFree;
    *second = V::Least(nearest.key == key ? next : nearest.least);
    return Column(key);
  }

  void KeyColumns() {
    key_.assign(costs_->stride, 0);
    for (int j = 0; j < costs_->cols; ++j) key_[j] = j + (row_of_column_[j] == kFree ? 0 : kOwned);
  }
  static int Column(typename V::Index key) { return static_cast<int>(key) & (kOwned - 1); }

  Status Insert(int start) {
    Begin();
    return Search(start, 0);
  }

  void Begin() {
    for (size_t k = 0; k < lines_.size(); ++k)
      lines_[k] = {V::Splat(kInfinity), V::Load(dual.data(), k), V::SplatIndex(0)};
    settled_.clear();
    settled_at_.clear();
  }

  // Dijkstra from the row `start` (the idle row if it equals `rows`) to the nearest free column,
  // then the exchange along the path. `lift` is the start row's dual, negated.
  Status Search(int start, T lift) {
    int row = start, column = kFree, level = 0;
    T reach = 0;
    for (;;) {
      const T before = reach;
      if (--scans_left_ < 0) return kIterationLimit;
      column = Scan(row == costs_->rows ? zeros_.data() : costs_->Row(row), row, lift, &reach);
      if (column == kFree) return kInfeasible;
      level = reach == before ? level + 1 : 0;
      if (level % kLookEvery == 2) column = FirstAtReach(reach);
      if (row_of_column_[column] == kFree) break;
      Settle(column, reach);
      row = row_of_column_[column];
      lift = reach - (costs_->Row(row)[column] - dual[column]);
    }
    for (size_t k = 0; k < settled_.size(); ++k) dual[settled_[k]] += settled_at_[k] - reach;
    key_[column] = column + kOwned;
    for (int i = kFree; i != start;) {
      i = static_cast<int>(lines_[column / V::kWidth].previous[column % V::kWidth]);
      row_of_column_[column] = i;
      if (i < costs_->rows) std::swap(column, column_of_row[i]);
    }
    return kOptimal;
  }

  void Settle(int column, T reach) {
    settled_.push_back(column);
    settled_at_.push_back(reach);
    Line& line = lines_[column / V::kWidth];
    line.distance[column % V::kWidth] = kInfinity;
    line.offset[column % V::kWidth] = -kInfinity;
  }

  // Relaxes all columns through one row; returns the nearest one and its distance; kFree if
  // none can be reached.
  int Scan(const T* costs, int row, T lift, T* reach) {
    const auto lifted = V::Splat(lift);
    const auto from = V::SplatIndex(row);
    auto least = V::Splat(kInfinity);  // per lane, and the column it was found in
    auto column = V::Lanes(), least_column = column;
    const int count = costs_->stride / V::kWidth;
    Line* const lines = lines_.data();
    for (int k = 0; k < count; ++k, column += V::kWidth) {
      Line& line = lines[k];
      const auto through = V::Load(costs, k) - line.offset + lifted;
      const auto closer = through < line.distance;
      const auto distance = closer ? through : line.distance;
      line.distance = distance;
      line.previous = closer ? from : line.previous;
      const auto lower = distance < least;
      least = lower ? distance : least;
      least_column = lower ? column : least_column;
    }
    const T best = V::Least(least);
    *reach = best;
    if (!(best < kInfinity)) return kFree;
    return static_cast<int>(V::Least(least == best ? least_column : V::SplatIndex(kNone)));
  }

  // Of the columns at this distance one that is free, if there is any.
  int FirstAtReach(T reach) const {
    auto first = V::SplatIndex(kNone);
    for (size_t k = 0; k < lines_.size(); ++k) {
      const auto key = V::LoadIndex(key_.data(), k);
      first = (lines_[k].distance == reach) & (key < first) ? key : first;
    }
    return Column(V::Least(first));
  }

  // With fewer rows than columns the idle columns must have equal duals, the highest of all. That
  // holds by itself from zero duals; after a warm start it is made true: think of a row of cost 0
  // for each idle column. These rows are alike; they own the idle columns of the highest dual, and
  // the others are inserted by the same search.
  Status SettleIdleColumns() {
    const int idle_row = costs_->rows, cols = costs_->cols;
    zeros_.assign(costs_->stride, kInfinity);
    std::fill(zeros_.begin(), zeros_.begin() + cols, T(0));
    T top = *std::max_element(dual.begin(), dual.begin() + cols);
    std::vector<int> lower;
    for (int j = 0; j < cols; ++j) {
      if (row_of_column_[j] != kFree) continue;
      if (dual[j] >= top) row_of_column_[j] = idle_row;
      else lower.push_back(j);
    }
    KeyColumns();
    for (size_t k = 0; k < lower.size(); ++k) {
      top = *std::max_element(dual.begin(), dual.begin() + cols);
      Begin();
      for (int j = 0; j < cols; ++j)
        if (row_of_column_[j] == idle_row) Settle(j, 0);
      const Status status = Search(idle_row, top);
      if (status != kOptimal) return status;
    }
    top = *std::max_element(dual.begin(), dual.begin() + cols);
    for (int j = 0; j < cols; ++j) dual[j] = row_of_column_[j] == idle_row ? T(0) : dual[j] - top;
    return kOptimal;
  }
};

}  // namespace lsajax
