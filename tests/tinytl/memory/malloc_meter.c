/* Counts the bytes that a process holds through malloc, and their peak above a mark.
 *
 * Preloaded by test_measured.py. Blocks below LARGE are left out: they are Python's objects and the
 * C++ objects of the autograd graph, which the meter under test does not claim to count; the
 * smallest tensors are among them, and together stay far below the tolerance.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>

enum { LARGE = 1024 };

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

static atomic_llong current, peak, marked;

static void count(void *block, int sign) {
    long long size = block ? (long long)malloc_usable_size(block) : 0;
    if (size < LARGE)
        return;
    long long now = atomic_fetch_add(&current, sign * size) + sign * size;
    long long highest = atomic_load(&peak);
    while (now > highest && !atomic_compare_exchange_weak(&peak, &highest, now)) {
    }
}

void meter_start(void) {
    marked = current;
    peak = marked;
}

long long meter_peak(void) { return peak - marked; }

static void *counted(void *block) {
    count(block, 1);
    return block;
}

void *malloc(size_t size) { return counted(__libc_malloc(size)); }
void *calloc(size_t number, size_t size) { return counted(__libc_calloc(number, size)); }
void *memalign(size_t alignment, size_t size) { return counted(__libc_memalign(alignment, size)); }
void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **block, size_t alignment, size_t size) {
    *block = memalign(alignment, size);
    return *block ? 0 : ENOMEM;
}

void *realloc(void *block, size_t size) {
    count(block, -1);
    return counted(__libc_realloc(block, size));
}

void free(void *block) {
    count(block, -1);
    __libc_free(block);
}
