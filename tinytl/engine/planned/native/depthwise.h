// Depthwise convolution of one channel, with a square kernel and stride 1 or 2.
#pragma once
#include "norm.h"
#include "vector.h"

namespace tinytl {

// The sum over a kernel's taps at N vectors of places of a padded plane. With stride 2 the even
// columns of a row stand before the odd ones.
template <class T, int K, int S, int N>
inline void correlate_vectors(const T* plane, int64_t row, const T* taps, Vector<T>* total) {
  for (int n = 0; n < N; ++n) total[n] = Vector<T>{};
  for (int i = 0; i < K; ++i)
    for (int j = 0; j < K; ++j) {
      const int64_t column = S == 1 ? j : j % 2 * (row / 2) + j / 2;
      for (int n = 0; n < N; ++n)
        total[n] += taps[i * K + j] * load(plane + i * row + column + n * kLanes<T>);
    }
}

template <class T, int K, int S>
void correlate(const T* plane, int64_t row, const T* taps, T* out, int64_t height, int64_t width) {
  constexpr int lanes = kLanes<T>;
  for (int64_t y = 0; y < height; ++y, plane += S * row, out += width) {
    int64_t x = 0;
    for (; x + 4 * lanes <= width; x += 4 * lanes) {
      Vector<T> total[4];
      correlate_vectors<T, K, S, 4>(plane + x, row, taps, total);
      for (int n = 0; n < 4; ++n) store(out + x + n * lanes, total[n]);
    }
    for (; x < width; x += lanes) {
      Vector<T> total[1];
      correlate_vectors<T, K, S, 1>(plane + x, row, taps, total);
      if (x + lanes <= width) {
        store(out + x, total[0]);
        continue;
      }
      T last[lanes];
      store(last, total[0]);
      for (int64_t i = x; i < width; ++i) out[i] = last[i - x];
    }
  }
}

struct Depthwise {
  int64_t height, width, kernel, stride, padding;

  int64_t out_height() const { return (height + 2 * padding - kernel) / stride + 1; }
  int64_t out_width() const { return (width + 2 * padding - kernel) / stride + 1; }
  int64_t taps() const { return kernel * kernel; }

  // Rows of a plane are wide enough for vectors that reach beyond what is used.
  int64_t row() const { return (width + 2 * padding + 1) / 2 * 2 + 2 * (kBytes / 4 + 2); }
  int64_t plane_size() const { return (height + 2 * padding + 1) * row(); }  // and a row to work in
  int64_t wide_row() const { return width + kernel - 1 + kBytes / 4; }
  int64_t wide_plane_size() const { return (height + kernel - 1) * wide_row(); }

  // Writes the activations of a normalized channel into a plane whose border is zero.
  template <class T>
  void pad(const T* source, const Linear<T>& norm, T high, T* plane) const {
    T* line = plane + plane_size() - row();
    plane += padding * row();
    for (int64_t y = 0; y < height; ++y, source += width, plane += row()) {
      T* target = stride == 1 ? plane + padding : line;
      for (int64_t x = 0; x < width; ++x) target[x] = norm.activation(source[x], high);
      for (int64_t odd = 0; odd < stride && stride == 2; ++odd) {
        const int64_t column = padding + odd;
        T* half = plane + column % 2 * (row() / 2) + column / 2;
        for (int64_t x = 0; x < (width + 1 - odd) / 2; ++x) half[x] = line[2 * x + odd];
      }
    }
  }

  template <class T>
  void forward(const T* plane, const T* weight, T* out) const {
    const auto run = [&](auto k) {
      constexpr int K = decltype(k)::value;
      stride == 1 ? correlate<T, K, 1>(plane, row(), weight, out, out_height(), out_width())
                  : correlate<T, K, 2>(plane, row(), weight, out, out_height(), out_width());
    };
    with_kernel(run);
  }

  // Writes the gradient of a result into a plane of zeros, where its pixels stand in the input.
  template <class T>
  void spread(const T* source, T* plane) const {
    const int64_t border = kernel - 1 - padding, columns = out_width();
    for (int64_t y = 0; y < out_height(); ++y, source += columns) {
      T* target = plane + (border + y * stride) * wide_row() + border;
      for (int64_t x = 0; x < columns; ++x) target[x * stride] = source[x];
    }
  }

  // The gradient of the input: the correlation with the kernel turned round.
  template <class T>
  void backward(const T* plane, const T* weight, T* out) const {
    with_kernel([&](auto k) {
      constexpr int K = decltype(k)::value;
      T turned[K * K];
      for (int i = 0; i < K * K; ++i) turned[i] = weight[K * K - 1 - i];
      correlate<T, K, 1>(plane, wide_row(), turned, out, height, width);
    });
  }

 private:
  template <class Run>
  void with_kernel(Run run) const {
    switch (kernel) {
      case 3: return run(std::integral_constant<int, 3>{});
      case 5: return run(std::integral_constant<int, 5>{});
      case 7: return run(std::integral_constant<int, 7>{});
    }
  }
};

}  // namespace tinytl
