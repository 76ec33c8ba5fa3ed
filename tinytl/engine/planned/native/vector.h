// Vectors of the processor's width, with the compiler's own operators.
#pragma once
#include <algorithm>
#include <cstdint>


namespace tinytl {

#ifdef __AVX512F__
constexpr int kBytes = 64;
#else
constexpr int kBytes = 32;
#endif

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(kBytes), aligned(sizeof(T)), may_alias));
};
template <class T>
using Vector = typename VectorOf<T>::type;
template <class T>
constexpr int kLanes = kBytes / sizeof(T);

template <class T>
inline Vector<T> load(const T* source) {
  return *reinterpret_cast<const Vector<T>*>(source);
}

template <class T>
inline void store(T* target, Vector<T> value) {
  *reinterpret_cast<Vector<T>*>(target) = value;
}

template <class T>
inline Vector<T> splat(T value) {
  return value - Vector<T>{};
}

template <class T>
inline T sum(Vector<T> value) {
  T total = 0;
  for (int i = 0; i < kLanes<T>; ++i) total += value[i];
  return total;
}

}  // namespace tinytl
