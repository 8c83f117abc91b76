// Portable vectors: a register of numbers in the vector extension of g++ and clang++.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

// clang++ and g++ from 12 on; older ones have a builtin of their own.
#ifdef __has_builtin
#if __has_builtin(__builtin_shufflevector)
#define LSAJAX_SHUFFLEVECTOR
#endif
#endif

namespace lsajax {

// One register: a compiler splits longer vectors, but g++ does so an element at a time. Registers of
// 64 bytes, where there are any, came within a tenth of these either way, and pad more.
#if defined(__AVX__)
constexpr int kLineBytes = 32;
#else
constexpr int kLineBytes = 16;
#endif

// Memory that starts a cache line, so that no register is loaded from two of them.
template <class T> struct AlignedAllocator {
  using value_type = T;
  static constexpr std::align_val_t kAlignment{64};
  AlignedAllocator() = default;
  template <class Other> AlignedAllocator(const AlignedAllocator<Other>&) {}
  T* allocate(size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), kAlignment)); }
  void deallocate(T* p, size_t) { ::operator delete(p, kAlignment); }
  bool operator==(const AlignedAllocator&) const { return true; }
  bool operator!=(const AlignedAllocator&) const { return false; }
};
template <class T> using Lanes = std::vector<T, AlignedAllocator<T>>;

template <class T> struct Vector {
  static constexpr int kWidth = kLineBytes / sizeof(T);
  using Index = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;
  typedef T Values __attribute__((vector_size(kLineBytes)));
  typedef Index Indices __attribute__((vector_size(kLineBytes)));

  static Values Splat(T x) { return x - Values{}; }
  static Indices SplatIndex(Index x) { return x - Indices{}; }
  static Indices Lanes() {  // 0, 1, 2, ...
    Indices x;
    for (int q = 0; q < kWidth; ++q) x[q] = q;
    return x;
  }
  static Values Load(const T* p, int line) {
    Values x;
    std::memcpy(&x, p + line * kWidth, kLineBytes);
    return x;
  }
  static Indices LoadIndex(const Index* p, int line) {
    Indices x;
    std::memcpy(&x, p + line * kWidth, kLineBytes);
    return x;
  }
  template <class Lane, class Line> static void Store(const Line& x, Lane* p, int line) {
    std::memcpy(p + line * kWidth, &x, kLineBytes);
  }
  // The smallest lane, by turning the lanes and never through memory: taking the address of a
  // vector, or one of its lanes at a time, would keep it on the stack all through the loop before.
  template <class Line, int kBy = kWidth / 2> static auto Least(Line x) {
    if constexpr (kBy == 0) {
      return x[0];
    } else {
      const Line turned = Turn<kBy>(x, std::make_index_sequence<kWidth>());
      return Least<Line, kBy / 2>(x < turned ? x : turned);
    }
  }
  template <int kBy, class Line, size_t... kLane>
  static Line Turn(Line x, std::index_sequence<kLane...>) {
#ifdef LSAJAX_SHUFFLEVECTOR
    return __builtin_shufflevector(x, x, ((kLane + kBy) % kWidth)...);
#else
    return __builtin_shuffle(x, Indices{((kLane + kBy) % kWidth)...});
#endif
  }
  // min_j (row_j - dual_j) over whole lines.
  static T LeastReduced(const T* row, const T* dual, int stride) {
    Values least = Splat(std::numeric_limits<T>::infinity());
    for (int k = 0; k < stride / kWidth; ++k) {
      const Values reduced = Load(row, k) - Load(dual, k);
      least = reduced < least ? reduced : least;
    }
    return Least(least);
  }
};

// The least of many numbers, lane by lane, and its key; of equals, the one of the least key.
template <class T> struct Nearest {
  using V = Vector<T>;
  using Index = typename V::Index;
  typename V::Values least = V::Splat(std::numeric_limits<T>::infinity());
  typename V::Indices key = V::SplatIndex(std::numeric_limits<int>::max());

  void Take(const typename V::Values& x, const typename V::Indices& x_key) {
    const auto lower = (x < least) | ((x == least) & (x_key < key));
    least = lower ? x : least;
    key = lower ? x_key : key;
  }
  Index Find(T* best) const {
    *best = V::Least(least);
    return V::Least(least == *best ? key : V::SplatIndex(std::numeric_limits<int>::max()));
  }
};

}  // namespace lsajax
