// Products of a small packed matrix with the pixels of an image.
#pragma once
#include "vector.h"

namespace tinytl {

#ifdef __AVX512F__
constexpr int kRows = 8;
#else
constexpr int kRows = 4;
#endif
constexpr int kVectors = 3;  // accumulators: kRows x kVectors
template <class T>
constexpr int64_t kColumns = kVectors * kLanes<T>;

// Copies a matrix [rows, depth] of any strides into blocks of kRows rows, each [depth, rows].
template <class T>
void pack(const T* source, int64_t row_stride, int64_t column_stride, int64_t rows, int64_t depth,
          T* packed) {
  for (int64_t r = 0; r < rows; r += kRows) {
    const int64_t count = std::min<int64_t>(kRows, rows - r);
    for (int64_t k = 0; k < depth; ++k)
      for (int64_t i = 0; i < count; ++i)
        *packed++ = source[(r + i) * row_stride + k * column_stride];
  }
}

// The same for units of rows that are used by themselves.
template <class T>
void pack_units(const T* source, int64_t row_stride, int64_t column_stride, int64_t rows,
                int64_t depth, int64_t unit, T* packed) {
  for (int64_t r = 0; r < rows; r += unit)
    pack(source + r * row_stride, row_stride, column_stride, std::min(unit, rows - r), depth,
         packed + r * depth);
}

// R rows of the result at N vectors of pixels.
template <class T, int R, int N, bool Add>
inline void multiply_tile(const T* packed, int64_t depth, const T* x, int64_t x_stride, T* out,
                          int64_t out_stride) {
  Vector<T> total[R][N];
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < N; ++n)
      total[r][n] = Add ? load(out + r * out_stride + n * kLanes<T>) : Vector<T>{};
  for (int64_t k = 0; k < depth; ++k, x += x_stride, packed += R) {
    Vector<T> value[N];
    for (int n = 0; n < N; ++n) value[n] = load(x + n * kLanes<T>);
    for (int r = 0; r < R; ++r)
      for (int n = 0; n < N; ++n) total[r][n] += packed[r] * value[n];
  }
  for (int r = 0; r < R; ++r)
    for (int n = 0; n < N; ++n) store(out + r * out_stride + n * kLanes<T>, total[r][n]);
}

// The same for `count` pixels that fill no vector.
template <class T, int R, bool Add>
inline void multiply_rest(const T* packed, int64_t depth, const T* x, int64_t x_stride, T* out,
                          int64_t out_stride, int64_t count) {
  T total[R][kLanes<T>] = {};
  for (int64_t k = 0; k < depth; ++k, x += x_stride, packed += R)
    for (int r = 0; r < R; ++r)
      for (int64_t i = 0; i < count; ++i) total[r][i] += packed[r] * x[i];
  for (int r = 0; r < R; ++r)
    for (int64_t i = 0; i < count; ++i)
      out[r * out_stride + i] = (Add ? out[r * out_stride + i] : 0) + total[r][i];
}

template <class T, int R, bool Add>
void multiply_rows(const T* packed, int64_t depth, const T* x, int64_t x_stride, T* out,
                   int64_t out_stride, int64_t pixels, int64_t before) {
  constexpr int64_t lanes = kLanes<T>;
  int64_t p = 0;
  for (; p + kColumns<T> <= pixels; p += kColumns<T>)
    multiply_tile<T, R, kVectors, Add>(packed, depth, x + p, x_stride, out + p, out_stride);
  for (; p + lanes <= pixels; p += lanes)
    multiply_tile<T, R, 1, Add>(packed, depth, x + p, x_stride, out + p, out_stride);
  const int64_t rest = pixels - p, back = lanes - rest;
  if (rest == 0) return;
  if (p + before < back) {  // fewer pixels than a vector has lanes
    multiply_rest<T, R, Add>(packed, depth, x + p, x_stride, out + p, out_stride, rest);
    return;
  }
  T whole[R][lanes];  // a vector that ends where the pixels end
  multiply_tile<T, R, 1, false>(packed, depth, x + p - back, x_stride, whole[0], lanes);
  for (int r = 0; r < R; ++r)
    for (int64_t i = 0; i < rest; ++i)
      out[r * out_stride + p + i] = (Add ? out[r * out_stride + p + i] : 0) + whole[r][back + i];
}

// out[r, p] = sum over k of matrix[r, k] * x[k, p], or += with `Add`, for pixels from <= p < to.
template <class T, bool Add>
void multiply(const T* packed, int64_t rows, int64_t depth, const T* x, int64_t x_stride, T* out,
              int64_t out_stride, int64_t from, int64_t to) {
  constexpr int64_t chunk = 4 * kColumns<T>;  // of pixels that stay in the first cache
  for (int64_t p = from; p < to; p += chunk) {
    const int64_t count = std::min(chunk, to - p);
    for (int64_t r = 0; r < rows; r += kRows) {
      const T* block = packed + r * depth;
      T* target = out + r * out_stride + p;
      switch (std::min<int64_t>(kRows, rows - r)) {
#define TINYTL_ROWS(R)                                                                       \
  case R:                                                                                    \
    multiply_rows<T, R, Add>(block, depth, x + p, x_stride, target, out_stride, count, p); \
    break;
        TINYTL_ROWS(1)
        TINYTL_ROWS(2)
        TINYTL_ROWS(3)
        TINYTL_ROWS(4)
#ifdef __AVX512F__
        TINYTL_ROWS(5)
        TINYTL_ROWS(6)
        TINYTL_ROWS(7)
        TINYTL_ROWS(8)
#endif
#undef TINYTL_ROWS
      }
    }
  }
}

}  // namespace tinytl
