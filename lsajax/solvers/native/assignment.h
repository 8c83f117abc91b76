// Exact linear assignment by shortest augmenting paths, for one dense matrix.
//
// What makes it fast, in order of weight: each Dijkstra step is one pass of vector instructions over
// a row; a square problem starts from the duals of a small sample, spread over all columns by a
// c-transform, so that most searches end near where they begin; every row starts at its minimum; rows
// left over outbid each other a few times before the searches begin.
//
// R. Jonker, A. Volgenant, Computing 38 (1987); D. F. Crouse, IEEE Trans. AES 52 (2016).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

#include "lanes.h"

namespace lsajax {

enum Status : int32_t { kOptimal = 1, kInfeasible = 2, kIterationLimit = 3 };

// Costs [rows, cols] with rows <= cols, each row padded with infinity to whole lines.
template <class T> class Costs {
 public:
  int rows = 0, cols = 0, stride = 0;

  void Resize(int new_rows, int new_cols) {
    rows = new_rows;
    cols = new_cols;
    constexpr int kWidth = Vector<T>::kWidth;
    stride = (cols + kWidth - 1) / kWidth * kWidth;
    data_.resize(static_cast<size_t>(rows) * stride);
  }
  T* Row(int i) { return data_.data() + static_cast<size_t>(i) * stride; }
  const T* Row(int i) const { return data_.data() + static_cast<size_t>(i) * stride; }

 private:
  std::vector<T> data_;
};

template <class T> class Assignment {
  using V = Vector<T>;
  static constexpr T kInfinity = std::numeric_limits<T>::infinity();
  static constexpr int kFree = -1;
  static constexpr int kOwned = 1 << 30;  // added to the key of a column that has a row
  static constexpr int kNobody = std::numeric_limits<int>::max();
  static constexpr int kReductionsPerRow = 3;  // bound on price wars, on average over a pass

 public:
  // Read after Solve: the column of each row, and the column duals (idle columns have 0).
  std::vector<int> column_of_row;
  std::vector<T> dual;

  // `dual` must hold `costs.stride` start values if `warm`. `dense`: no entry is infinite.
  Status Solve(const Costs<T>& costs, bool warm, bool dense, int64_t max_scans) {
    costs_ = &costs;
    scans_left_ = max_scans;
    Reset(warm);
    if (!warm && dense && costs.rows == costs.cols) SampleDuals();
    MatchMinima();
    while (ReduceRows()) {
    }
    KeyColumns();
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
  std::vector<T> distance_;  // infinity at columns already settled and at padding
  std::vector<T> offset_;    // the duals, and -infinity at settled columns: never reached again
  std::vector<typename V::Index> previous_;  // row before a column on its shortest path
  std::vector<int> settled_;
  std::vector<T> settled_at_;
  std::vector<typename V::Index> key_;  // the column's number, larger if it has a row
  std::vector<T> zeros_;

  void Reset(bool warm) {
    const int stride = costs_->stride;
    if (!warm) dual.assign(stride, 0);
    column_of_row.assign(costs_->rows, kFree);
    row_of_column_.assign(costs_->cols, kFree);
    distance_.resize(stride);
    offset_.resize(stride);
    previous_.assign(stride, 0);
  }

  // Duals of a random square sample, extended to all columns: dual_j = min_i (cost_ij - u_i).
  void SampleDuals() {
    const int n = costs_->rows;
    // Large enough to place the duals, small enough to cost little: measured at 20 to 2000.
    const int size = std::min(n / 3, 300);
    if (size < 6) return;
    std::minstd_rand generator(n);
    const std::vector<int> rows = Sample(n, size, generator), cols = Sample(n, size, generator);
    Costs<T> part;
    part.Resize(size, size);
    for (int a = 0; a < size; ++a) {
      T* out = part.Row(a);
      std::fill(out, out + part.stride, kInfinity);
      for (int b = 0; b < size; ++b) out[b] = costs_->Row(rows[a])[cols[b]];
    }
    Assignment<T> coarse;
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

  // Every row takes its cheapest column at these duals, if that is still free.
  void MatchMinima() {
    for (int i = 0; i < costs_->rows; ++i) {
      const T* row = costs_->Row(i);
      const T best = V::LeastReduced(row, dual.data(), costs_->stride);
      if (!(best < kInfinity)) continue;
      for (int j = 0; j < costs_->cols; ++j) {
        if (row_of_column_[j] != kFree || !(row[j] - dual[j] == best)) continue;
        row_of_column_[j] = i;
        column_of_row[i] = j;
        break;
      }
    }
  }

  // Each row without a column outbids the holder of its cheapest one, up to the point where its
  // second cheapest would do as well ("augmenting row reduction"). True if that served many of them
  // and is worth repeating: so it is where costs are irregular.
  bool ReduceRows() {
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
        row_of_column_[column] = row;
        column_of_row[row] = column;
        if (holder != kFree) column_of_row[holder] = kFree;
        row = holder;
      }
    }
    const size_t left = std::count(column_of_row.begin(), column_of_row.end(), kFree);
    return 4 * left < 3 * waiting.size() && left > 0;
  }

  // The two least reduced costs of a row, and the column of the first.
  int TwoLeast(const T* row, T* best, T* second) const {
    const int lines = costs_->stride / V::kWidth;
    auto least = V::Splat(kInfinity), next = least;  // per lane
    auto column = V::Lanes(), least_column = column;
    for (int k = 0; k < lines; ++k, column += V::kWidth) {
      const auto reduced = V::Load(row, k) - V::Load(dual.data(), k);
      const auto lower = reduced < least;
      next = lower ? least : (reduced < next ? reduced : next);
      least = lower ? reduced : least;
      least_column = lower ? column : least_column;
    }
    *best = *second = V::Least(least);
    if (!(*best < kInfinity)) return kFree;
    const auto first = V::Least(least == *best ? least_column : V::SplatIndex(kNobody));
    *second = V::Least(least_column == first ? next : least);
    return static_cast<int>(first);
  }

  void KeyColumns() {
    key_.assign(costs_->stride, 0);
    for (int j = 0; j < costs_->cols; ++j) key_[j] = j + (row_of_column_[j] == kFree ? 0 : kOwned);
  }

  Status Insert(int start) {
    std::fill(distance_.begin(), distance_.end(), kInfinity);
    std::copy(dual.begin(), dual.end(), offset_.begin());
    settled_.clear();
    settled_at_.clear();
    return Search(start, 0);
  }

  // Dijkstra from the row `start` (the idle row if it equals `rows`) to the nearest free column,
  // then the exchange along the path. `lift` is the start row's dual, negated.
  Status Search(int start, T lift) {
    int row = start, column = kFree;
    T reach = 0;
    for (;;) {
      if (--scans_left_ < 0) return kIterationLimit;
      column = Scan(row == costs_->rows ? zeros_.data() : costs_->Row(row), row, lift, &reach);
      if (column == kFree) return kInfeasible;
      if (row_of_column_[column] == kFree) break;
      Settle(column, reach);
      row = row_of_column_[column];
      lift = reach - (costs_->Row(row)[column] - dual[column]);
    }
    for (size_t k = 0; k < settled_.size(); ++k) dual[settled_[k]] += settled_at_[k] - reach;
    key_[column] = column + kOwned;
    for (int i = kFree; i != start;) {
      i = static_cast<int>(previous_[column]);
      row_of_column_[column] = i;
      if (i < costs_->rows) std::swap(column, column_of_row[i]);
    }
    return kOptimal;
  }

  void Settle(int column, T reach) {
    settled_.push_back(column);
    settled_at_.push_back(reach);
    distance_[column] = kInfinity;
    offset_[column] = -kInfinity;
  }

  // Relaxes all columns through one row; returns the nearest one, of equals in different lanes a
  // free one, and its distance; kFree if none can be reached.
  int Scan(const T* costs, int row, T lift, T* nearest) {
    const auto lifted = V::Splat(lift);
    const auto from = V::SplatIndex(row);
    const int lines = costs_->stride / V::kWidth;
    const T* const offsets = offset_.data();
    T* const distances = distance_.data();
    typename V::Index* const before = previous_.data();
    auto least = V::Splat(kInfinity);  // per lane, and the column it was found in
    auto least_key = V::SplatIndex(0);
    for (int k = 0; k < lines; ++k) {
      const auto through = V::Load(costs, k) - V::Load(offsets, k) + lifted;
      auto distance = V::Load(distances, k);
      const auto closer = through < distance;
      distance = closer ? through : distance;
      V::Store(distance, distances, k);
      auto previous = V::LoadIndex(before, k);
      previous = closer ? from : previous;
      V::Store(previous, before, k);
      const auto lower = distance < least;
      least = lower ? distance : least;
      least_key = lower ? V::LoadIndex(key_.data(), k) : least_key;
    }
    const T best = V::Least(least);
    *nearest = best;
    if (!(best < kInfinity)) return kFree;
    const auto first = V::Least(least == best ? least_key : V::SplatIndex(kNobody));
    return static_cast<int>(first) & (kOwned - 1);
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
      std::fill(distance_.begin(), distance_.end(), kInfinity);
      std::copy(dual.begin(), dual.end(), offset_.begin());
      settled_.clear();
      settled_at_.clear();
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
