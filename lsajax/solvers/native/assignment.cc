// XLA custom call: a batch of linear assignment problems, masked, either orientation.
#include <atomic>
#include <new>
#include <system_error>
#include <thread>

#include "assignment.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;

namespace lsajax {

// Pointers to one problem of the batch, as `linear_sum_assignment` defines it.
template <class T> struct Problem {
  int n, m;
  bool maximize, warm;
  int64_t max_scans;
  const T* values;
  const bool *row_mask, *col_mask;
  const T *row_start, *col_start;
  int32_t* assignment;
  T *row_dual, *col_dual;
  int32_t* status;
};

// Scratch that one thread keeps from problem to problem.
template <class T> struct Worker {
  Costs<T> costs;
  Assignment<T> solver;
  std::vector<int> rows, cols;  // active ones
  Lanes<T> shift, zeros;
  T largest = 0;  // |cost| that is finite, as it came in
  T scale = 1;
  bool dense = true;

  void Run(const Problem<T>& p) {
    SetActive(p.row_mask, p.n, &rows);
    SetActive(p.col_mask, p.m, &cols);
    std::fill(p.assignment, p.assignment + p.n, -1);
    std::fill(p.row_dual, p.row_dual + p.n, T(0));
    std::fill(p.col_dual, p.col_dual + p.m, T(0));
    *p.status = kOptimal;
    if (rows.empty() || cols.empty()) return;
    const bool transposed = rows.size() > cols.size();
    if (!Load(p, transposed)) {
      *p.status = kInfeasible;
      return;
    }
    if (p.warm) LoadStart(p, transposed);
    const Status status = solver.Solve(costs, p.warm, dense, p.max_scans);
    *p.status = status;
    if (status == kOptimal) Write(p, transposed);
  }

 private:
  using Bits = typename Vector<T>::Index;
  static constexpr T kInfinity = std::numeric_limits<T>::infinity();
  static constexpr Bits kSizeMask = std::numeric_limits<Bits>::max();
  static constexpr Bits kInfiniteBits = sizeof(T) == 4 ? Bits(0x7f800000) : Bits(0x7ff0000000000000);

  static void SetActive(const bool* mask, int size, std::vector<int>* active) {
    active->clear();
    active->reserve(size);
    for (int i = 0; i < size; ++i)
      if (mask[i]) active->push_back(i);
  }

  // Copies the active part as costs to minimise, the smaller side as rows, each row from its
  // minimum on. False where a value is NaN or an infinity that promises an unbounded gain.
  bool Load(const Problem<T>& p, bool transposed) {
    costs.Resize(std::min(rows.size(), cols.size()), std::max(rows.size(), cols.size()));
    const T sign = p.maximize ? T(-1) : T(1);
    const int count = cols.size();
    const bool whole = count == p.m;
    Bits bits = 0;
    for (size_t a = 0; a < rows.size(); ++a) {
      const T* __restrict in = p.values + static_cast<size_t>(rows[a]) * p.m;
      if (transposed) {
        for (int b = 0; b < count; ++b) costs.Row(b)[a] = sign * in[cols[b]];
      } else {
        T* __restrict out = costs.Row(a);
        if (whole) for (int b = 0; b < count; ++b) out[b] = sign * in[b];
        else for (int b = 0; b < count; ++b) out[b] = sign * in[cols[b]];
        bits = std::max(bits, LargestBits(out));
      }
    }
    for (int i = 0; transposed && i < costs.rows; ++i) bits = std::max(bits, LargestBits(costs.Row(i)));
    if (bits > kInfiniteBits) return false;  // NaN
    dense = bits < kInfiniteBits;
    std::memcpy(&largest, &bits, sizeof(T));
    if (!dense && !SurveyInfinities()) return false;
    // A power of two, where differences or sums along paths could overflow, or lose their digits
    // near the smallest number.
    constexpr T kMargin = T(1 << 30);
    if (largest > std::numeric_limits<T>::max() / kMargin) scale = std::ldexp(T(1), -64);
    else if (largest < std::numeric_limits<T>::min() * kMargin) scale = std::ldexp(T(1), 64);
    else scale = 1;
    ShiftRows();
    return true;
  }

  // The largest |cost| of a row as its bit pattern: the order of non-negative numbers is that of
  // their bits, infinity and NaN come last, and integers vectorise.
  Bits LargestBits(const T* row) const {
    Bits largest = 0;
    for (int j = 0; j < costs.cols; ++j) {
      Bits bits;
      std::memcpy(&bits, row + j, sizeof(T));
      largest = std::max(largest, bits & kSizeMask);
    }
    return largest;
  }

  // Finds the largest finite |cost|; false where a cost is -infinity.
  bool SurveyInfinities() {
    largest = 0;
    for (int i = 0; i < costs.rows; ++i) {
      for (int j = 0; j < costs.cols; ++j) {
        const T cost = costs.Row(i)[j];
        if (cost == -kInfinity) return false;
        if (cost != kInfinity) largest = std::max(largest, std::abs(cost));
      }
    }
    return true;
  }

  void ShiftRows() {
    shift.assign(costs.rows, 0);
    zeros.assign(costs.stride, 0);
    for (int i = 0; i < costs.rows; ++i) {
      T* __restrict row = costs.Row(i);
      std::fill(row + costs.cols, row + costs.stride, kInfinity);
      const T least = Vector<T>::LeastReduced(row, zeros.data(), costs.stride);
      if (least == kInfinity) continue;  // a row without a permitted partner
      shift[i] = least;
      for (int j = 0; j < costs.cols; ++j) row[j] = row[j] * scale - least * scale;
    }
  }

  void LoadStart(const Problem<T>& p, bool transposed) {
    const T sign = p.maximize ? T(-1) : T(1);
    const std::vector<int>& index = transposed ? rows : cols;
    const T* start = transposed ? p.row_start : p.col_start;
    // Any start will do; one far above the costs would swallow them.
    const T most = 4 * scale * largest;
    solver.dual.assign(costs.stride, 0);
    for (size_t b = 0; b < index.size(); ++b) {
      const T value = sign * scale * start[index[b]];
      solver.dual[b] = std::isfinite(value) ? std::clamp(value, -most, most) : T(0);
    }
  }

  void Write(const Problem<T>& p, bool transposed) {
    const T sign = p.maximize ? T(-1) : T(1);
    const std::vector<int>& small = transposed ? cols : rows;
    const std::vector<int>& large = transposed ? rows : cols;
    T* small_dual = transposed ? p.col_dual : p.row_dual;
    T* large_dual = transposed ? p.row_dual : p.col_dual;
    const T* dual = solver.dual.data();
    for (size_t b = 0; b < large.size(); ++b) large_dual[large[b]] = sign * dual[b] / scale;
    for (size_t a = 0; a < small.size(); ++a) {
      const int b = solver.column_of_row[a];
      p.assignment[transposed ? large[b] : small[a]] = transposed ? small[a] : large[b];
      // The largest row dual that is feasible in this arithmetic, whatever was rounded before.
      const T least = Vector<T>::LeastReduced(costs.Row(a), dual, costs.stride);
      small_dual[small[a]] = sign * (least / scale + shift[a]);
    }
  }
};

// Matrix entries that pay for a thread of their own; below that, starting one costs more than it saves.
constexpr double kEntriesPerThread = 5e4;

// False if memory ran out.
template <class T> bool RunBatch(const Problem<T>& first, int64_t batch) {
  std::atomic<int64_t> next{0};
  std::atomic<bool> enough{true};
  auto solve_rest = [&] {
    Worker<T> worker;
    for (int64_t b; (b = next.fetch_add(1)) < batch;) {
      Problem<T> p = first;
      p.values += b * p.n * p.m;
      p.row_mask += b * p.n;
      p.col_mask += b * p.m;
      p.row_start += b * p.n;
      p.col_start += b * p.m;
      p.assignment += b * p.n;
      p.row_dual += b * p.n;
      p.col_dual += b * p.m;
      p.status += b;
      worker.Run(p);
    }
  };
  auto work = [&] {
    try {
      solve_rest();
    } catch (const std::bad_alloc&) {
      enough = false;
    }
  };
  const double entries = static_cast<double>(batch) * first.n * first.m;
  int64_t threads = std::max(1u, std::thread::hardware_concurrency());
  threads = std::min<int64_t>({threads, batch, 1 + static_cast<int64_t>(entries / kEntriesPerThread)});
  std::vector<std::thread> others;
  try {
    for (int64_t t = 1; t < threads; ++t) others.emplace_back(work);
  } catch (const std::system_error&) {
    // The system grants no more threads: those there are do the work.
  }
  work();
  for (std::thread& thread : others) thread.join();
  return enough;
}

template <class T>
ffi::Error Call(ffi::AnyBuffer values, ffi::AnyBuffer row_mask, ffi::AnyBuffer col_mask,
                ffi::AnyBuffer row_start, ffi::AnyBuffer col_start, bool maximize, bool warm,
                int64_t max_scans, ffi::Result<ffi::AnyBuffer>& assignment,
                ffi::Result<ffi::AnyBuffer>& row_dual, ffi::Result<ffi::AnyBuffer>& col_dual,
                ffi::Result<ffi::AnyBuffer>& status) {
  const auto shape = values.dimensions();
  Problem<T> first;
  first.n = static_cast<int>(shape[shape.size() - 2]);
  first.m = static_cast<int>(shape[shape.size() - 1]);
  int64_t batch = 1;
  for (size_t k = 0; k + 2 < shape.size(); ++k) batch *= shape[k];
  first.maximize = maximize;
  first.warm = warm;
  first.max_scans = max_scans;
  first.values = values.typed_data<T>();
  first.row_mask = row_mask.typed_data<bool>();
  first.col_mask = col_mask.typed_data<bool>();
  first.row_start = row_start.typed_data<T>();
  first.col_start = col_start.typed_data<T>();
  first.assignment = assignment->typed_data<int32_t>();
  first.row_dual = row_dual->typed_data<T>();
  first.col_dual = col_dual->typed_data<T>();
  first.status = status->typed_data<int32_t>();
  if (!RunBatch(first, batch)) return ffi::Error::Internal("linear assignment: out of memory");
  return ffi::Error::Success();
}

ffi::Error LinearAssignment(ffi::AnyBuffer values, ffi::AnyBuffer row_mask, ffi::AnyBuffer col_mask,
                            ffi::AnyBuffer row_start, ffi::AnyBuffer col_start, bool maximize,
                            bool warm, int64_t max_scans, ffi::Result<ffi::AnyBuffer> assignment,
                            ffi::Result<ffi::AnyBuffer> row_dual,
                            ffi::Result<ffi::AnyBuffer> col_dual,
                            ffi::Result<ffi::AnyBuffer> status) {
  const bool single = values.element_type() == ffi::DataType::F32;
  if (!single && values.element_type() != ffi::DataType::F64)
    return ffi::Error::InvalidArgument("linear assignment takes float32 or float64 values");
  return (single ? Call<float> : Call<double>)(values, row_mask, col_mask, row_start, col_start,
                                               maximize, warm, max_scans, assignment, row_dual,
                                               col_dual, status);
}

}  // namespace lsajax

XLA_FFI_DEFINE_HANDLER_SYMBOL(LsajaxLinearAssignment, lsajax::LinearAssignment,
                              ffi::Ffi::Bind()
                                  .Arg<ffi::AnyBuffer>()      // values [..., n, m]
                                  .Arg<ffi::AnyBuffer>()      // row_mask [..., n]
                                  .Arg<ffi::AnyBuffer>()      // col_mask [..., m]
                                  .Arg<ffi::AnyBuffer>()      // row duals to start from
                                  .Arg<ffi::AnyBuffer>()      // column duals to start from
                                  .Attr<bool>("maximize")
                                  .Attr<bool>("warm")
                                  .Attr<int64_t>("max_scans")
                                  .Ret<ffi::AnyBuffer>()      // assignment [..., n]
                                  .Ret<ffi::AnyBuffer>()      // row duals
                                  .Ret<ffi::AnyBuffer>()      // column duals
                                  .Ret<ffi::AnyBuffer>());    // status [...]
