// The matrix that the solver works on.
#pragma once

#include <cstddef>

#include "lanes.h"

namespace lsajax {

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
  Lanes<T> data_;
};

}  // namespace lsajax
