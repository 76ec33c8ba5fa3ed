// Norm layers and the clamp behind them: GroupNorm, and BatchNorm with fixed statistics.
#pragma once
#include <cmath>

#include "vector.h"

namespace tinytl {

// What a norm is for one channel of one image: scale * x + shift.
template <class T>
struct Linear {
  T scale, shift, mean, rstd;

  T activation(T x, T high) const {
    const T y = scale * x + shift;
    return y < 0 ? 0 : y > high ? high : y;
  }
  void clamp(T* x, int64_t count, T high) const {
    for (int64_t i = 0; i < count; ++i) x[i] = activation(x[i], high);
  }
};

// Sums in vectors for a while, then in double, so that long sums lose nothing.
template <class T, class Value>
double long_sum(int64_t count, Value value) {
  constexpr int64_t lanes = kLanes<T>, while_ = 64 * lanes;
  double total = 0;
  int64_t i = 0;
  while (i + lanes <= count) {
    Vector<T> part = {};
    const int64_t end = std::min(count - lanes + 1, i + while_);
    for (; i < end; i += lanes) part += value(i);
    total += sum<T>(part);
  }
  T rest = 0;
  for (; i < count; ++i) rest += value.one(i);
  return total + rest;
}

template <class T>
struct Values {
  const T* x;
  Vector<T> operator()(int64_t i) const { return load(x + i); }
  T one(int64_t i) const { return x[i]; }
};

template <class T>
struct SquaredDistances {
  const T* x;
  T mean;
  Vector<T> operator()(int64_t i) const {
    const Vector<T> distance = load(x + i) - mean;
    return distance * distance;
  }
  T one(int64_t i) const { return (x[i] - mean) * (x[i] - mean); }
};

template <class T>
struct Products {
  const T *x, *y;
  T mean;  // of y
  Vector<T> operator()(int64_t i) const { return load(x + i) * (load(y + i) - mean); }
  T one(int64_t i) const { return x[i] * (y[i] - mean); }
};

template <class T>
struct Norm {
  const T *weight, *bias, *mean, *rstd;  // the last two: null where they come from the input
  int64_t group;                         // channels
  T eps, high;                           // high: where activations are clamped

  // Finds what the norm is for channels start .. start + count, whose pixels are `x`.
  void forward(const T* x, int64_t stride, int64_t pixels, int64_t start, int64_t count,
               Linear<T>* linear) const {
    for (int64_t g = 0; g < count; g += group) {
      double center = 0, square = 0;
      if (!mean) {
        const double values = double(group * pixels);
        for (int64_t c = g; c < g + group; ++c)
          center += long_sum<T>(pixels, Values<T>{x + c * stride});
        center /= values;
        for (int64_t c = g; c < g + group; ++c)
          square += long_sum<T>(pixels, SquaredDistances<T>{x + c * stride, T(center)});
        square /= values;
      }
      for (int64_t c = g; c < g + group; ++c) {
        const T m = mean ? mean[start + c] : T(center);
        const T r = mean ? rstd[start + c] : T(1 / std::sqrt(square + eps));
        const T scale = weight[start + c] * r;
        linear[c] = {scale, bias[start + c] - m * scale, m, r};
      }
    }
  }

  // Makes the gradient of the activations that of `x`, in place, and adds to the sums over the
  // pixels of the norm's gradient, and of its product with the normalized values.
  //
  // With n values in a group and their normalized values y, the gradient of a GroupNorm's input is
  // r * (w g - mean(w g) - y * mean(w g y)).
  void backward(T* grad, int64_t grad_stride, const T* x, int64_t stride, int64_t pixels,
                int64_t start, int64_t count, const Linear<T>* linear, T* plain_sums,
                T* normalized_sums) const {
    for (int64_t g = 0; g < count; g += group) {
      double first = 0, second = 0;
      for (int64_t c = g; c < g + group; ++c) {
        T* of_channel = grad + c * grad_stride;
        const T* values = x + c * stride;
        for (int64_t i = 0; i < pixels; ++i) {
          const T y = linear[c].scale * values[i] + linear[c].shift;
          of_channel[i] = (y > 0) & (y < high) ? of_channel[i] : T(0);
        }
        const double plain = long_sum<T>(pixels, Values<T>{of_channel});
        const double along =
            long_sum<T>(pixels, Products<T>{of_channel, values, linear[c].mean}) * linear[c].rstd;
        plain_sums[c] += plain;
        normalized_sums[c] += along;
        first += plain * weight[start + c];
        second += along * weight[start + c];
      }
      const double values = double(group * pixels);
      for (int64_t c = g; c < g + group; ++c) {
        T* of_channel = grad + c * grad_stride;
        const Linear<T>& l = linear[c];
        // constant + of_input * x is the part of the gradient through the statistics
        const T of_input = mean ? 0 : -second / values * l.rstd * l.rstd;
        const T constant = mean ? 0 : -first / values * l.rstd - of_input * l.mean;
        for (int64_t i = 0; i < pixels; ++i)
          of_channel[i] = l.scale * of_channel[i] + (of_input * x[c * stride + i] + constant);
      }
    }
  }
};

}  // namespace tinytl
