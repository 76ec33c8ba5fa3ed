// The main branch of an inverted bottleneck, a slab of its channels at a time.
//
// expand (1x1) -> norm -> clamp -> depthwise -> norm -> clamp -> project (1x1). The slab's channels
// are cut into units, each of whole groups of both norms; a unit is computed by one thread from the
// expansion to the second clamp, while it is in the cache. Sums over the channels of a slab
// (projection, gradient of the input) are cut along the pixels, so that no two threads add to the
// same value, and results do not depend on the number of threads.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <numeric>
#include <vector>

#include "depthwise.h"
#include "matrix.h"
#include "norm.h"

namespace tinytl {

using at::Tensor;

template <class T>
const T* data(const Tensor& tensor) {
  return tensor.numel() ? tensor.const_data_ptr<T>() : nullptr;
}

// What both passes are given, as pointers and sizes.
template <class T>
struct Branch {
  int64_t images, inputs, channels, outputs;  // channels of input, inside, of output
  Depthwise geometry;
  const T *input, *expand, *taps, *project;
  Norm<T> first, second;
  int64_t together;  // images of a tile
  int64_t slab, unit;  // channels

  int64_t pixels() const { return geometry.height * geometry.width; }
  int64_t out_pixels() const { return geometry.out_height() * geometry.out_width(); }
  const T* image(int64_t i) const { return input + i * inputs * pixels(); }
};

// The activations of a tile, a slab of some images, and the gradients beside them.
template <class T>
struct Slab {
  int64_t start, size;    // channels
  int64_t first, images;  // which images
  Tensor expanded, filtered, grad;

  Slab(const Branch<T>& branch, bool backward, const at::TensorOptions& options) {
    const int64_t count = std::min(branch.images, branch.together) * branch.slab;
    // the gradient of the expansion's norm takes the place of what the depthwise convolution gave
    const int64_t wide = std::max(branch.pixels(), branch.out_pixels());
    expanded = at::empty({count * branch.pixels()}, options);
    filtered = at::empty({count * (backward ? wide : branch.out_pixels())}, options);
    if (backward) grad = at::empty({count * branch.out_pixels()}, options);
  }
  T* at(Tensor& tensor, int64_t image, int64_t channel, int64_t pixels) {
    return tensor.mutable_data_ptr<T>() + ((image - first) * size + channel) * pixels;
  }
};

// Calls prepare() for every slab of channels, and then work() for every tile of it.
template <class T, class Prepare, class Work>
void for_tiles(const Branch<T>& branch, Slab<T>& slab, Prepare prepare, Work work) {
  for (slab.start = 0; slab.start < branch.channels; slab.start += slab.size) {
    slab.size = std::min(branch.slab, branch.channels - slab.start);
    prepare();
    for (slab.first = 0; slab.first < branch.images; slab.first += slab.images) {
      slab.images = std::min(branch.together, branch.images - slab.first);
      work();
    }
  }
}

// Calls work(image, first channel, end) for every unit of a tile; a single one is cut further by
// what it calls.
template <class T, class Work>
void for_units(const Branch<T>& branch, const Slab<T>& slab, Work work) {
  const int64_t units = (slab.size + branch.unit - 1) / branch.unit;
  at::parallel_for(0, slab.images * units, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t channel = item % units * branch.unit;
      work(slab.first + item / units, channel, std::min(channel + branch.unit, slab.size));
    }
  });
}

// Calls work(channel, plane) for every channel of a unit, with a plane of the thread.
template <class T, class Work>
void for_channels(int64_t count, Tensor& planes, Work work) {
  // inside a parallel region the loop below is no parallel one, and every thread is its first
  const int64_t outer = at::in_parallel_region() ? at::get_thread_num() : -1;
  at::parallel_for(0, count, 1, [&](int64_t begin, int64_t end) {
    const int64_t thread = outer < 0 ? at::get_thread_num() : outer;
    T* plane = planes.mutable_data_ptr<T>() + thread * planes.size(1);
    for (int64_t channel = begin; channel < end; ++channel) work(channel, plane);
  });
}

// Calls work(image, first pixel, end) for chunks of pixels of some images.
template <class Work>
void for_pixels(int64_t first, int64_t images, int64_t pixels, int64_t chunk, Work work) {
  const int64_t chunks = (pixels + chunk - 1) / chunk;
  at::parallel_for(0, images * chunks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t pixel = item % chunks * chunk;
      work(first + item / chunks, pixel, std::min(pixel + chunk, pixels));
    }
  });
}

template <class T>
Tensor planes_for(int64_t size, const at::TensorOptions& options) {
  return at::zeros({at::get_num_threads(), size}, options);
}

constexpr int64_t kChunk = 8 * kColumns<float>;

// Computes expansion and depthwise convolution of some channels; `activate` leaves the second
// activations in place of what the depthwise convolution gave.
template <class T>
void hidden(const Branch<T>& b, Slab<T>& slab, const T* packed, int64_t image, int64_t from,
            int64_t to, Tensor& planes, Linear<T>* first, Linear<T>* second, int64_t stride,
            bool activate) {
  const int64_t pixels = b.pixels(), out_pixels = b.out_pixels();
  T* expanded = slab.at(slab.expanded, image, from, pixels);
  for_pixels(0, 1, pixels, kChunk, [&](int64_t, int64_t start, int64_t end) {
    multiply<T, false>(packed + from * b.inputs, to - from, b.inputs, b.image(image), pixels,
                       expanded, pixels, start, end);
  });
  b.first.forward(expanded, pixels, pixels, slab.start + from, to - from, first);
  T* filtered = slab.at(slab.filtered, image, from, stride);
  for_channels<T>(to - from, planes, [&](int64_t c, T* plane) {
    b.geometry.pad(expanded + c * pixels, first[c], b.first.high, plane);
    b.geometry.forward(plane, b.taps + (slab.start + from + c) * b.geometry.taps(),
                       filtered + c * stride);
  });
  b.second.forward(filtered, stride, out_pixels, slab.start + from, to - from, second);
  if (activate)
    for (int64_t c = 0; c < to - from; ++c)
      second[c].clamp(filtered + c * stride, out_pixels, b.second.high);
}

template <class T>
void forward(const Branch<T>& b, T* total, const at::TensorOptions& options) {
  Slab<T> slab(b, false, options);
  Tensor planes = planes_for<T>(b.geometry.plane_size(), options);
  Tensor expand = at::empty({b.slab * b.inputs}, options);
  Tensor project = at::empty({b.outputs * b.slab}, options);
  T* packed = expand.mutable_data_ptr<T>();
  T* columns = project.mutable_data_ptr<T>();
  const int64_t out_pixels = b.out_pixels();
  const auto prepare = [&] {
    pack_units<T>(b.expand + slab.start * b.inputs, b.inputs, 1, slab.size, b.inputs, b.unit,
                  packed);
    pack<T>(b.project + slab.start, b.channels, 1, b.outputs, slab.size, columns);
  };
  for_tiles(b, slab, prepare, [&] {
    for_units(b, slab, [&](int64_t image, int64_t from, int64_t to) {
      std::vector<Linear<T>> first(to - from), second(to - from);
      hidden(b, slab, packed, image, from, to, planes, first.data(), second.data(), out_pixels,
             true);
    });
    for_pixels(slab.first, slab.images, out_pixels, kChunk,
               [&](int64_t image, int64_t from, int64_t to) {
      multiply<T, true>(columns, b.outputs, slab.size, slab.at(slab.filtered, image, 0, out_pixels),
                        out_pixels, total + image * b.outputs * out_pixels, out_pixels, from, to);
    });
  });
}

template <class T>
void backward(const Branch<T>& b, const T* grad, T* grad_input, T* sums,
              const at::TensorOptions& options) {
  Slab<T> slab(b, true, options);
  Tensor planes = planes_for<T>(b.geometry.plane_size(), options);
  Tensor wide_planes = planes_for<T>(b.geometry.wide_plane_size(), options);
  Tensor expand = at::empty({b.slab * b.inputs}, options);
  Tensor project = at::empty({b.outputs * b.slab}, options);
  Tensor transposed = at::empty({grad_input ? b.slab * b.inputs : 0}, options);
  T* packed = expand.mutable_data_ptr<T>();
  T* columns = project.mutable_data_ptr<T>();
  T* rows = transposed.mutable_data_ptr<T>();
  const int64_t pixels = b.pixels(), out_pixels = b.out_pixels();
  const int64_t stride = std::max(pixels, out_pixels);
  const auto prepare = [&] {
    pack_units<T>(b.expand + slab.start * b.inputs, b.inputs, 1, slab.size, b.inputs, b.unit,
                  packed);
    pack_units<T>(b.project + slab.start, 1, b.channels, slab.size, b.outputs, b.unit, columns);
    if (grad_input)
      pack<T>(b.expand + slab.start * b.inputs, 1, b.inputs, b.inputs, slab.size, rows);
  };
  for_tiles(b, slab, prepare, [&] {
    for_units(b, slab, [&](int64_t image, int64_t from, int64_t to) {
      std::vector<Linear<T>> first(to - from), second(to - from);
      hidden(b, slab, packed, image, from, to, planes, first.data(), second.data(), stride, false);
      T* expanded = slab.at(slab.expanded, image, from, pixels);
      T* filtered = slab.at(slab.filtered, image, from, stride);
      T* inner = slab.at(slab.grad, image, from, out_pixels);
      for_pixels(0, 1, out_pixels, kChunk, [&](int64_t, int64_t start, int64_t end) {
        multiply<T, false>(columns + from * b.outputs, to - from, b.outputs,
                           grad + image * b.outputs * out_pixels, out_pixels, inner, out_pixels,
                           start, end);
      });
      T* sum = sums + (image * 4 * b.channels + slab.start + from);
      b.second.backward(inner, out_pixels, filtered, stride, out_pixels, slab.start + from,
                        to - from, second.data(), sum + 2 * b.channels, sum + 3 * b.channels);
      for_channels<T>(to - from, wide_planes, [&](int64_t c, T* plane) {
        b.geometry.spread(inner + c * out_pixels, plane);
        b.geometry.backward(plane, b.taps + (slab.start + from + c) * b.geometry.taps(),
                            filtered + c * stride);
      });
      b.first.backward(filtered, stride, expanded, pixels, pixels, slab.start + from, to - from,
                       first.data(), sum, sum + b.channels);
    });
    if (!grad_input) return;
    for_pixels(slab.first, slab.images, pixels, kChunk,
               [&](int64_t image, int64_t from, int64_t to) {
      multiply<T, true>(rows, b.inputs, slab.size, slab.at(slab.filtered, image, 0, stride), stride,
                        grad_input + image * b.inputs * pixels, pixels, from, to);
    });
  });
}

// The arguments of the operators, as they are registered below.
template <class T>
Branch<T> branch_of(const Tensor& input, const Tensor& expand, at::TensorList first,
                    const Tensor& taps, at::TensorList second, const Tensor& project,
                    at::IntArrayRef groups, at::ArrayRef<double> eps, at::ArrayRef<double> high,
                    int64_t stride, int64_t padding, int64_t together, int64_t slab) {
  const auto norm = [&](at::TensorList t, int which) {
    return Norm<T>{data<T>(t[0]), data<T>(t[1]), data<T>(t[2]),   data<T>(t[3]),
                   groups[which], T(eps[which]), T(high[which])};
  };
  const int64_t unit = std::lcm(groups[0], groups[1]);
  return {input.size(0),
          input.size(1),
          expand.size(0),
          project.size(0),
          {input.size(2), input.size(3), taps.size(2), stride, padding},
          data<T>(input),
          data<T>(expand),
          data<T>(taps),
          data<T>(project),
          norm(first, 0),
          norm(second, 1),
          together,
          slab,
          unit * std::max<int64_t>(1, 8 / unit)};
}

void branch_forward(Tensor& total, const Tensor& input, const Tensor& expand, at::TensorList first,
                    const Tensor& taps, at::TensorList second, const Tensor& project,
                    at::IntArrayRef groups, at::ArrayRef<double> eps, at::ArrayRef<double> high,
                    int64_t stride, int64_t padding, int64_t together, int64_t slab) {
  AT_DISPATCH_FLOATING_TYPES(input.scalar_type(), "branch_forward", [&] {
    forward<scalar_t>(branch_of<scalar_t>(input, expand, first, taps, second, project, groups, eps,
                                          high, stride, padding, together, slab),
                      total.mutable_data_ptr<scalar_t>(), input.options());
  });
}

void branch_backward(const c10::optional<Tensor>& grad_input, Tensor& sums, const Tensor& grad,
                     const Tensor& input, const Tensor& expand, at::TensorList first,
                     const Tensor& taps, at::TensorList second, const Tensor& project,
                     at::IntArrayRef groups, at::ArrayRef<double> eps, at::ArrayRef<double> high,
                     int64_t stride, int64_t padding, int64_t together, int64_t slab) {
  AT_DISPATCH_FLOATING_TYPES(input.scalar_type(), "branch_backward", [&] {
    backward<scalar_t>(branch_of<scalar_t>(input, expand, first, taps, second, project, groups,
                                           eps, high, stride, padding, together, slab),
                       data<scalar_t>(grad),
                       grad_input ? grad_input->mutable_data_ptr<scalar_t>() : nullptr,
                       sums.mutable_data_ptr<scalar_t>(), input.options());
  });
}

}  // namespace tinytl

#define TINYTL_BRANCH                                                                           \
  "Tensor input, Tensor expand, Tensor[] first, Tensor taps, Tensor[] second, Tensor project, " \
  "int[] groups, float[] eps, float[] high, int stride, int padding, int together, " \
  "int slab) -> ()"

TORCH_LIBRARY(tinytl, library) {
  library.def("branch_forward(Tensor(a!) total, " TINYTL_BRANCH);
  library.def("branch_backward(Tensor(a!)? grad_input, Tensor(b!) sums, Tensor grad, " TINYTL_BRANCH);
}

TORCH_LIBRARY_IMPL(tinytl, CPU, library) {
  library.impl("branch_forward", TORCH_FN(tinytl::branch_forward));
  library.impl("branch_backward", TORCH_FN(tinytl::branch_backward));
}
